//! One image for many at once: callers of one process, and processes on one store.

use super::ground::{Ground, count, image, succeeded, text};
use super::saved::Saved;
use podbox::api::keyring::Keyring;
use podbox::image::{Digest, Progress, Store};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the layers that are fetched.
#[derive(Default)]
struct Fetched(AtomicU64);

impl Progress for Fetched {
    fn begin(&self, _layer: &Digest, _bytes: u64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn advance(&self, _layer: &Digest, _bytes: u64) {}
    fn done(&self, _layer: &Digest) {}
}

#[test]
fn pods_that_ask_for_an_image_together_have_it_by_one_download() {
    let Some(ground) = Ground::new("pods_that_ask_for_an_image_together_have_it_by_one_download") else {
        return;
    };
    ground.push("shared:1", &[]);
    let store = Store::open(&ground.path("state")).unwrap();
    let fetched = Arc::new(Fetched::default());
    let name = ground.name("shared:1");
    // On this thread, as it has the registry's network.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let nobody = Keyring::default();
    let asked = (0..8).map(|_| store.get(&name, &nobody, fetched.clone()));
    let images = runtime.block_on(futures_util::future::join_all(asked));
    let images: Vec<_> = images.into_iter().map(|pulled| pulled.unwrap().image).collect();
    assert!(images.iter().all(|image| *image.layers == *images[0].layers && image.layers[0].is_dir()));
    assert_eq!(fetched.0.load(Ordering::Relaxed), 1, "layers fetched");
}

#[test]
fn an_image_goes_on_arriving_when_who_asked_first_gives_up() {
    let Some(ground) = Ground::new("an_image_goes_on_arriving_when_who_asked_first_gives_up") else { return };
    ground.push("shared:1", &[]);
    let store = Store::open(&ground.path("state")).unwrap();
    let name = ground.name("shared:1");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let nobody = Keyring::default();
    let ask = || Box::pin(store.get(&name, &nobody, Arc::new(Fetched::default())));
    runtime.block_on(async {
        let (mut first, mut second) = (ask(), ask());
        // The first has begun, and the second waits for it.
        assert!(futures_util::poll!(&mut first).is_pending());
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        assert!(second.await.unwrap().image.layers[0].is_dir());
    });
    assert_eq!(count(&ground.path("state"), "tmp"), 0);
}

/// Starts `podbox image`, beside others.
fn start(ground: &Ground, args: &[&str]) -> Child {
    image(&ground.path("state"), args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn processes_that_fill_one_store_together_lose_nothing() {
    let Some(ground) = Ground::new("processes_that_fill_one_store_together_lose_nothing") else { return };
    ground.push("same:1", &[]);
    ground.push("same:2", &[]);
    let mut saved = Saved::create(ground.path("other.tar"));
    let layer = saved.layer("layer.tar", &[("other", "loaded")]);
    saved.image(&["other:1"], &[layer]);
    let archive = saved.finish();
    let archive = archive.to_str().unwrap();
    let (one, two) = (ground.name("same:1"), ground.name("same:2"));
    for _ in 0..5 {
        // The same image twice, another of the same layer, and one of another.
        let work: [&[&str]; 4] = [&["pull", &one], &["pull", &one], &["pull", &two], &["load", archive]];
        let started: Vec<Child> = work.iter().map(|args| start(&ground, args)).collect();
        for child in started {
            succeeded(&child.wait_with_output().unwrap());
        }
        let listed = text(&ground.podbox(&["ls", "-o", "json"]).stdout);
        for name in [one.as_str(), &two, "docker.io/library/other:1"] {
            assert!(listed.contains(&format!("{name:?}")), "{name} is missing in {listed}");
        }
        assert_eq!((count(&ground.path("state"), "layers"), count(&ground.path("state"), "tmp")), (2, 0));
        // Removed together, too.
        let names = [one.as_str(), &two, "other:1"];
        let started: Vec<Child> = names.iter().map(|name| start(&ground, &["rm", name])).collect();
        for child in started {
            succeeded(&child.wait_with_output().unwrap());
        }
        super::ground::nothing_remains(&ground.path("state"));
    }
}

#[test]
fn a_layer_that_one_process_removes_is_whole_or_fetched_again_for_another() {
    let test = "a_layer_that_one_process_removes_is_whole_or_fetched_again_for_another";
    let Some(ground) = Ground::new(test) else { return };
    ground.push("kept:1", &[]);
    ground.push("gone:1", &[]);
    let (kept, gone) = (ground.name("kept:1"), ground.name("gone:1"));
    for _ in 0..10 {
        succeeded(&ground.podbox(&["pull", &gone]));
        // The layer is here when the pull begins, and may be gone before its image is.
        let (pull, remove) = (start(&ground, &["pull", &kept]), start(&ground, &["rm", &gone]));
        ground.had(&pull.wait_with_output().unwrap());
        succeeded(&remove.wait_with_output().unwrap());
        succeeded(&ground.podbox(&["rm", &kept]));
        super::ground::nothing_remains(&ground.path("state"));
    }
}
