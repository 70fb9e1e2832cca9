//! What a scrape of each page for Prometheus costs: the daemon's processor time, and how long the scraper waits.

use crate::node::Node;
use crate::stats::{Report, Samples};
use anyhow::{Result, ensure};
use podbox::clock;
use podbox_tests::metrics;
use std::time::Duration;

const PAGES: [&str; 5] =
    ["/metrics", "/metrics/cadvisor", "/metrics/probes", "/metrics/resource", "/metrics/state"];
/// How often each is scraped.
const TIMES: u32 = 20;

/// A page.
pub struct Scraped {
    page: &'static str,
    took: Samples,
    /// Of the processor, for one scrape.
    worked: Duration,
    series: usize,
    kb: f64,
}

/// Scrapes every page, again and again.
pub fn all(node: &Node) -> Result<Vec<Scraped>> {
    PAGES.iter().map(|page| scrape(node, page)).collect()
}

fn scrape(node: &Node, page: &'static str) -> Result<Scraped> {
    let before = node.worked()?;
    let (mut took, mut text) = (Vec::new(), String::new());
    for _ in 0..TIMES {
        let began = clock::instant();
        text = metrics::page(page);
        took.push(clock::instant() - began);
    }
    ensure!(text.starts_with("HTTP/1.1 200"), "{page}: {text}");
    let series = text.lines().filter(|line| line.contains(' ') && !line.starts_with('#')).count();
    let worked = (node.worked()? - before) / TIMES;
    Ok(Scraped { page, took: Samples::new(page, took), worked, series, kb: text.len() as f64 / 1024.0 })
}

/// Says what came of it. A scrape of all pages every 15 s is to take less than a hundredth of a core.
pub fn tell(all: Vec<Scraped>, report: &mut Report) {
    let mut sum = 0.0;
    for own in &all {
        let ms = own.worked.as_secs_f64() * 1000.0;
        sum += ms;
        let Scraped { page, series, kb, .. } = own;
        report.line(format!("{page:<18} {series:>7} series {kb:>7.0} kB {ms:>7.1} ms of a processor"));
    }
    let took: Vec<Samples> = all.into_iter().map(|own| own.took).collect();
    report.table(&took);
    report.at_most("110_scrape_processor", sum, "ms", 150.0);
}
