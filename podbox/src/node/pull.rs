//! Has a container's image here, as its pod may have it, and tells people what that takes, in the kubelet's words. An image
//! that was pulled with a login is not for a pod without: its registry is asked again, as that pod.
//!
//! Whether and when it is tried again is `pod::plan`'s. Invariant: who is told of no "Pulling" had nothing pulled.

use super::Node;
use super::record::PodRecord;
use crate::api::image::Image;
use crate::api::images::{Images, PullFailure, PullPolicy, Pulled};
use crate::api::keyring::Keyring;
use crate::clock;
use crate::pod::notice::{self, Notice};
use crate::pod::references;
use crate::pod::sources::Scope;
use std::time::Duration;

/// What is said of an image that was had with somebody else's login.
const NOT_YOURS: &str = "is present with pull policy of Never but does not have the proper auth (image secret) that was used to \
                         pull the image";

/// The image; what is to be said of it goes to `say`.
pub(super) async fn image<R, I: Images>(
    node: &Node<R, I>,
    pod: &PodRecord,
    container: &str,
    say: &(dyn Fn(Notice) + Send + Sync),
) -> Result<Image, PullFailure> {
    let asked = clock::instant();
    let (reference, policy) = pod.image(container);
    let tell = |warning: bool, reason: &'static str, message: String| {
        let part = Some(pod.shape.part(container));
        say(Notice { part, warning, reason: reason.into(), message, remark: None });
    };
    let mut logins = None;
    match node.images.here(reference, policy) {
        Ok(None) => {}
        Ok(Some(image)) => {
            // Its pod's secrets are read only where it takes one.
            let admitted = node.images.admits(reference, None)? || {
                let own = logins.insert(keyring(node, pod).await);
                node.images.admits(reference, Some(own))?
            };
            if admitted {
                tell(false, "Pulled", notice::present(reference).message);
                return Ok(image);
            }
            if policy == PullPolicy::Never {
                let message = format!("Container image {reference:?} {NOT_YOURS}");
                tell(true, "ErrImageNeverPull", message.clone());
                return Err(PullFailure { reason: "ErrImageNeverPull", message });
            }
        }
        Err(PullFailure { reason: "ErrImageNeverPull", .. }) => {
            let message = format!("Container image {reference:?} is not present with pull policy of Never");
            tell(true, "ErrImageNeverPull", message.clone());
            return Err(PullFailure { reason: "ErrImageNeverPull", message });
        }
        Err(PullFailure { reason: reason @ "InvalidImageName", .. }) => {
            let what = format!("couldn't parse image name {reference:?}: invalid reference format");
            let message = format!("Failed to apply default image tag {reference:?}: {what}");
            tell(true, "InspectFailed", message.clone());
            return Err(PullFailure { reason, message });
        }
        Err(failure) => {
            let why = format!("Failed to inspect image {reference:?}: {}", failure.message);
            tell(true, "InspectFailed", why);
            return Err(failure);
        }
    }
    tell(false, "Pulling", format!("Pulling image {reference:?}"));
    let logins = match logins {
        Some(logins) => logins,
        None => keyring(node, pod).await,
    };
    match node.images.pull(reference, &logins).await {
        Ok(Pulled { image, took, bytes }) => {
            let (took, all) = (words(took), words(asked.elapsed()));
            let size = format!("Image size: {bytes} bytes.");
            let what = format!("Successfully pulled image {reference:?} in {took} ({all} including waiting)");
            tell(false, "Pulled", format!("{what}. {size}"));
            Ok(image)
        }
        Err(failure) => {
            tell(true, "Failed", format!("Failed to pull image {reference:?}: {}", failure.message));
            Err(failure)
        }
    }
}

/// The logins that the pod's secrets give. One that is not there, or says nothing, is told; it may not be needed.
pub async fn keyring<R, I>(node: &Node<R, I>, pod: &PodRecord) -> Keyring {
    let mut keyring = Keyring::default();
    let mut missing = Vec::new();
    let references = references::of_pulls(&pod.manifest);
    let sources = pod.sources.read(&references).await;
    let scope = Scope::new(&sources, &pod.pod.namespace);
    for name in references.secrets.iter().map(String::as_str) {
        let Ok(Some(secret)) = scope.secret(name, None) else {
            missing.push(name);
            continue;
        };
        if let Err(error) = keyring.add(&secret.entries) {
            tracing::warn!(pod = %pod.pod, "image pull secret {name} gives no login: {error}");
            missing.push(name);
        }
    }
    if let (false, Some(notices)) = (missing.is_empty(), node.notices.get()) {
        let names = missing.join(", ");
        let message = format!(
            "Unable to retrieve some image pull secrets ({names}); attempting to pull the image may not succeed."
        );
        let reason = "FailedToRetrieveImagePullSecret";
        notices.tell(
            &pod.pod,
            Notice { part: None, warning: true, reason: reason.into(), message, remark: None },
        );
    }
    keyring
}

/// A duration as upstream prints it: 345ms, 1.2s, 1m2.5s.
fn words(time: Duration) -> String {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    if seconds == 0 {
        return if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") };
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let fraction = format!(".{millis:03}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    let seconds = format!("{}{fraction}s", seconds % 60);
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_upstream_prints_them() {
        for (millis, text) in
            [(0, "0s"), (7, "7ms"), (1000, "1s"), (1200, "1.2s"), (61_050, "1m1.05s"), (3_600_000, "1h0m0s")]
        {
            assert_eq!(words(Duration::from_millis(millis)), text);
        }
    }
}
