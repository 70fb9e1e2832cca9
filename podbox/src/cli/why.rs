//! `podbox why`: why the containers of a pod ended, from whoever saw it: the kernel, podbox, or nobody.

use super::pods;
use crate::api::cause::{Account, ContainerAccount, Ending};
use crate::config::Config;
use anyhow::bail;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

/// Arguments of `podbox why`.
#[derive(Debug, clap::Args)]
pub struct WhyArgs {
    /// The pod: NAME or NAMESPACE/NAME; also one that is gone
    pod: String,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The last ends of each container, a line or two for each
    Text,
    /// A JSON array, an object for each pod that has or had the name
    Json,
}

/// Prints what the running podbox knows.
pub fn run(args: &WhyArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let mut accounts: Vec<Account> = pods::ask(config, "/ends")?;
    accounts.retain(|account| pods::is(&args.pod, &account.namespace, &account.pod));
    if accounts.is_empty() {
        let pod = &args.pod;
        bail!(
            "podbox knows nothing of a pod {pod}: nothing of it has run and ended on this host of late (kubectl describe pod has its status, if it is still there)"
        );
    }
    pods::print(&match args.output {
        Format::Json => pods::json(&accounts)?,
        Format::Text => accounts.iter().map(text).collect::<Vec<_>>().join("\n"),
    })
}

fn text(account: &Account) -> String {
    let Account { namespace, pod, uid, phase, verdict, containers } = account;
    // The API may have it still, as one that failed.
    let phase = phase.as_deref().unwrap_or("no longer on this node");
    // Writing to a String cannot fail.
    let mut text = format!("pod {namespace}/{pod} ({uid}): {phase}\n");
    if let Some(verdict) = verdict {
        let _ = writeln!(text, "  {verdict}");
    }
    for ContainerAccount { name, state, ends } in containers {
        let _ = writeln!(text, "container {name}: {state}");
        if ends.is_empty() {
            text += "  none of its runs has ended\n";
        }
        for end in ends.iter().rev() {
            let _ = writeln!(
                text,
                "  {}  run {}{}, code {}",
                time(end.ended),
                end.attempt,
                lasted(end),
                end.code
            );
            let _ = writeln!(text, "    {}", end.cause.message);
        }
    }
    text
}

fn time(at: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}

fn lasted(end: &Ending) -> String {
    let lasted = end.started.and_then(|started| end.ended.duration_since(started).ok());
    lasted.map(|lasted| format!(" after {:.3} s", lasted.as_secs_f64())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::cause::{By, Cause};
    use std::time::Duration;

    #[test]
    fn each_end_has_its_time_its_code_and_its_reason_the_latest_first() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let end = |attempt, code, message: &str| Ending {
            attempt,
            started: Some(at(u64::from(attempt) * 10)),
            ended: at(u64::from(attempt) * 10 + 3),
            code,
            cause: Cause { by: By::Process, message: message.into(), sender: None, telling: false },
        };
        let container = ContainerAccount {
            name: "app".into(),
            state: "waiting: CrashLoopBackOff".into(),
            ends: vec![
                end(0, 1, "exited with 1"),
                end(1, 137, "SIGKILL, sent by bash (42), a process of the host"),
            ],
        };
        let account = Account {
            namespace: "shop".into(),
            pod: "web".into(),
            uid: "u-1".into(),
            phase: Some("Running".into()),
            verdict: None,
            containers: vec![container],
        };
        let expected = "pod shop/web (u-1): Running\n\
                        container app: waiting: CrashLoopBackOff\n\
                        \x20 1970-01-01T00:00:13.000Z  run 1 after 3.000 s, code 137\n\
                        \x20   SIGKILL, sent by bash (42), a process of the host\n\
                        \x20 1970-01-01T00:00:03.000Z  run 0 after 3.000 s, code 1\n\
                        \x20   exited with 1\n";
        assert_eq!(text(&account), expected);
    }
}
