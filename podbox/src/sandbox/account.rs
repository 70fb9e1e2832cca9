//! Reads a cgroup's account from its files: each by one call to the kernel, into one buffer, since of a busy host many are read.

use super::measure;
use crate::api::account::{Account, Charge, Cpu, DiskTraffic, Pressure, Pressures, Throttling};
use crate::clock;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Room for all of a file at first. The longest, `memory.stat`, has some 2,000 bytes; who has thousands of processes has a longer one.
const BYTES: usize = 16 << 10;

/// Reads files of cgroups.
#[derive(Debug)]
pub struct Reader {
    buffer: Vec<u8>,
    path: PathBuf,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader { buffer: vec![0; BYTES], path: PathBuf::new() }
    }
}

impl Reader {
    /// The account of a group and those below it; none if it is not there any more.
    pub fn group(&mut self, group: &Path) -> Option<Account> {
        let cpu = self.text(group, "cpu.stat").map(cpu)?;
        let cpu = Cpu {
            limit: self.text(group, "cpu.max").and_then(quota),
            weight: self.number(group, "cpu.weight"),
            ..cpu
        };
        let disks = self.text(group, "io.stat").map(disks).unwrap_or_default();
        let pressure = self.pressures(group, ["cpu.pressure", "memory.pressure", "io.pressure"]);
        let threads = self.number(group, "pids.current");
        let threads_limit = self.number(group, "pids.max");
        let Some(usage) = self.number(group, "memory.current") else {
            // It is the same for both pages: what the processes have resident.
            let sample = measure::group(group, clock::wall())?;
            let (memory, processes) = (sample.memory, sample.processes);
            return Some(Account {
                cpu,
                memory,
                charge: None,
                processes,
                threads,
                threads_limit,
                disks,
                pressure,
            });
        };
        let stat = self.text(group, "memory.stat").unwrap_or_default();
        let (memory, charge) = (measure::charged(usage, stat), charge(stat));
        let events = self.text(group, "memory.events").unwrap_or_default();
        let of = |name| measure::field(events, name).unwrap_or(0);
        let charge = Charge { failures: of("max"), oom_kills: of("oom_kill"), ..charge };
        let charge = Charge {
            swap: self.number(group, "memory.swap.current"),
            peak: self.number(group, "memory.peak"),
            limit: self.number(group, "memory.max"),
            swap_limit: self.number(group, "memory.swap.max"),
            reserved: self.number(group, "memory.min").unwrap_or(0),
            ..charge
        };
        let processes = self.processes(group);
        Some(Account {
            cpu,
            memory,
            charge: Some(charge),
            processes,
            threads,
            threads_limit,
            disks,
            pressure,
        })
    }

    /// The processes in a group and in those below it.
    fn processes(&mut self, group: &Path) -> u64 {
        let own = self.text(group, "cgroup.procs").map_or(0, |pids| pids.lines().count() as u64);
        // Of directories the kernel counts those in them as links; there are some only while a command runs in a container.
        if fs::metadata(group).is_ok_and(|found| found.nlink() <= 2) {
            return own;
        }
        let below = fs::read_dir(group).into_iter().flatten().flatten();
        let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        below.fold(own, |sum, entry| sum + self.processes(&entry.path()))
    }

    /// How long the whole host waited.
    pub fn host(&mut self) -> Pressures {
        self.pressures(Path::new("/proc/pressure"), ["cpu", "memory", "io"])
    }

    fn pressures(&mut self, directory: &Path, [cpu, memory, io]: [&str; 3]) -> Pressures {
        let mut of = |file| self.text(directory, file).and_then(pressure);
        Pressures { cpu: of(cpu), memory: of(memory), io: of(io) }
    }

    /// The number in a file; none if it says `max`.
    fn number(&mut self, directory: &Path, file: &str) -> Option<u64> {
        self.text(directory, file)?.trim().parse().ok()
    }

    fn text(&mut self, directory: &Path, file: &str) -> Option<&str> {
        self.path.clear();
        self.path.extend([directory, Path::new(file)]);
        let mut read = 0;
        let mut file = File::open(&self.path).ok()?;
        loop {
            if read == self.buffer.len() {
                self.buffer.resize(2 * read, 0);
            }
            match file.read(&mut self.buffer[read..]) {
                Ok(0) => break,
                Ok(more) => read += more,
                // What this kernel does not measure is there and cannot be read.
                Err(_) => return None,
            }
        }
        std::str::from_utf8(&self.buffer[..read]).ok()
    }
}

fn cpu(stat: &str) -> Cpu {
    let of = |name| measure::field(stat, name);
    let time = |name| Duration::from_micros(of(name).unwrap_or(0));
    let throttling = of("nr_periods").map(|periods| Throttling {
        periods,
        throttled_periods: of("nr_throttled").unwrap_or(0),
        time: time("throttled_usec"),
    });
    let (usage, user, system) = (time("usage_usec"), time("user_usec"), time("system_usec"));
    Cpu { usage, user, system, throttling, ..Cpu::default() }
}

fn quota(max: &str) -> Option<(Duration, Duration)> {
    let (quota, period) = max.trim().split_once(' ')?;
    let time = |text: &str| text.parse().ok().map(Duration::from_micros);
    Some((time(quota)?, time(period)?))
}

fn charge(stat: &str) -> Charge {
    let of = |name| measure::field(stat, name).unwrap_or(0);
    let kernel = measure::field(stat, "kernel");
    Charge {
        cache: of("file"),
        mapped: of("file_mapped"),
        // Older kernels have no sum.
        kernel: kernel.unwrap_or_else(|| of("kernel_stack") + of("slab") + of("percpu") + of("pagetables")),
        active_file: of("active_file"),
        inactive_file: of("inactive_file"),
        ..Charge::default()
    }
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`
fn disks(stat: &str) -> BTreeMap<String, DiskTraffic> {
    let line = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let of = |name: &str| {
            let mut words = rest.split(' ').filter_map(|word| word.split_once('='));
            words.find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
        };
        let traffic = DiskTraffic {
            read_bytes: of("rbytes"),
            written_bytes: of("wbytes"),
            reads: of("rios"),
            writes: of("wios"),
        };
        (traffic != DiskTraffic::default()).then(|| (device.to_owned(), traffic))
    };
    stat.lines().filter_map(line).collect()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=9`, and the same of `full`.
fn pressure(text: &str) -> Option<Pressure> {
    let of = |word: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(word))?;
        let (_, total) = line.rsplit_once("total=")?;
        total.trim().parse().ok().map(Duration::from_micros)
    };
    // Before 5.13 there is no line of processors that all wait for.
    Some(Pressure { some: of("some ")?, full: of("full ").unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn a_group_with_every_controller_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        assert_eq!(Reader::default().group(dir.path()), None);
        write(
            "cpu.stat",
            "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 7\nnr_throttled 3\nthrottled_usec 250\n",
        );
        write("cpu.max", "50000 100000\n");
        write("cpu.weight", "79\n");
        write("cgroup.procs", "1\n2\n");
        write("pids.current", "5\n");
        write("pids.max", "100\n");
        write("memory.current", "1200\n");
        write(
            "memory.stat",
            "anon 300\nfile 900\nkernel 50\nactive_file 200\ninactive_file 600\npgfault 7\n",
        );
        write("memory.events", "low 0\nhigh 0\nmax 4\noom 2\noom_kill 1\n");
        write("memory.max", "4096\n");
        write("memory.swap.max", "max\n");
        write("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n7:0 \n");
        write("cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.00 total=5\n");
        let found = Reader::default().group(dir.path()).unwrap();
        let throttling = Throttling { periods: 7, throttled_periods: 3, time: micros(250) };
        let expected = Cpu {
            usage: micros(30),
            user: micros(20),
            system: micros(10),
            throttling: Some(throttling),
            limit: Some((micros(50_000), micros(100_000))),
            weight: Some(79),
        };
        assert_eq!(found.cpu, expected);
        assert_eq!((found.processes, found.memory.working_set), (2, 600));
        assert_eq!((found.threads, found.threads_limit), (Some(5), Some(100)));
        let charge = found.charge.unwrap();
        assert_eq!((charge.cache, charge.kernel, charge.failures, charge.oom_kills), (900, 50, 4, 1));
        assert_eq!(
            (charge.limit, charge.swap_limit, charge.swap, charge.peak),
            (Some(4096), None, None, None)
        );
        let disk = DiskTraffic { read_bytes: 1, written_bytes: 2, reads: 3, writes: 4 };
        assert_eq!(found.disks, BTreeMap::from([("8:0".to_owned(), disk)]));
        assert_eq!(found.pressure.cpu, Some(Pressure { some: micros(9), full: micros(5) }));
        assert_eq!(found.pressure.io, None);
    }

    #[test]
    fn a_group_without_controllers_has_what_its_processes_have() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cpu.stat"), "usage_usec 42\n").unwrap();
        fs::write(dir.path().join("cgroup.procs"), format!("{}\n", std::process::id())).unwrap();
        let found = Reader::default().group(dir.path()).unwrap();
        assert_eq!((found.cpu.usage, found.cpu.throttling, found.processes), (micros(42), None, 1));
        assert!(found.memory.rss > 0 && found.charge.is_none(), "{found:?}");
    }
}
