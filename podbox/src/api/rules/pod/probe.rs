//! Probes and lifecycle hooks: what is wrong with them.

use crate::api::field::{Errors, Path};
use crate::api::rules::check::{self, maybe_non_negative, one_of, port_or_name, present, text};
use crate::api::rules::names;
use k8s_openapi::api::core::v1::{ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::api::core::v1::{SleepAction, TCPSocketAction};

/// Which probe it is: what some fields may be depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `livenessProbe`.
    Liveness,
    /// `readinessProbe`.
    Readiness,
    /// `startupProbe`.
    Startup,
}

/// A probe.
pub fn probe(errors: &mut Errors, path: &Path, probe: &Probe, which: Which) {
    let handlers = Handlers {
        exec: probe.exec.as_ref(),
        http_get: probe.http_get.as_ref(),
        tcp_socket: probe.tcp_socket.as_ref(),
        grpc: probe.grpc.as_ref(),
        sleep: None,
    };
    handlers.judge(errors, path, 0);
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        maybe_non_negative(errors, &path.child(field), value);
    }
    let grace = path.child("terminationGracePeriodSeconds");
    match probe.termination_grace_period_seconds {
        Some(seconds) if which == Which::Readiness => {
            errors.invalid(&grace, seconds, "must not be set for readinessProbes");
        }
        Some(seconds) if seconds <= 0 => errors.invalid(&grace, seconds, "must be greater than 0"),
        _ => {}
    }
    let successes = probe.success_threshold.unwrap_or(1);
    if which != Which::Readiness && successes != 1 {
        errors.invalid(&path.child("successThreshold"), successes, "must be 1");
    }
}

/// A lifecycle hook.
pub fn handler(errors: &mut Errors, path: &Path, handler: &LifecycleHandler, grace: Option<i64>) {
    let handlers = Handlers {
        exec: handler.exec.as_ref(),
        http_get: handler.http_get.as_ref(),
        tcp_socket: handler.tcp_socket.as_ref(),
        grpc: None,
        sleep: handler.sleep.as_ref(),
    };
    handlers.judge(errors, path, grace.unwrap_or(30));
}

/// What a probe or hook does; it must be exactly one of these.
struct Handlers<'a> {
    exec: Option<&'a ExecAction>,
    http_get: Option<&'a HTTPGetAction>,
    tcp_socket: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
    sleep: Option<&'a SleepAction>,
}

impl Handlers<'_> {
    fn judge(&self, errors: &mut Errors, path: &Path, grace: i64) {
        let mut count = 0;
        if let Some(exec) = self.exec {
            count += 1;
            if exec.command.as_ref().is_none_or(Vec::is_empty) {
                errors.required(&path.child("exec").child("command"), "");
            }
        }
        let mut first = |errors: &mut Errors, field: &str| {
            count += 1;
            if count > 1 {
                errors.forbidden(&path.child(field), "may not specify more than 1 handler type");
            }
            count == 1
        };
        if let Some(get) = self.http_get
            && first(errors, "httpGet")
        {
            http_get(errors, &path.child("httpGet"), get);
        }
        if let Some(socket) = self.tcp_socket
            && first(errors, "tcpSocket")
        {
            port_or_name(errors, &path.child("tcpSocket").child("port"), &socket.port);
        }
        if let Some(grpc) = self.grpc
            && first(errors, "grpc")
        {
            check::port(errors, &path.child("grpc").child("port"), grpc.port);
        }
        if let Some(sleep) = self.sleep
            && first(errors, "sleep")
            && !(0..=grace).contains(&sleep.seconds)
        {
            let why = "must be non-negative and less than terminationGracePeriodSeconds";
            let at = path.child("sleep");
            errors.invalid(&at, sleep.seconds, format!("{why} ({grace})"));
        }
        if count == 0 {
            errors.required(path, "must specify a handler type");
        }
    }
}

fn http_get(errors: &mut Errors, path: &Path, get: &HTTPGetAction) {
    present(errors, &path.child("path"), text(&get.path));
    port_or_name(errors, &path.child("port"), &get.port);
    one_of(errors, &path.child("scheme"), text(&get.scheme), &["HTTP", "HTTPS"]);
    for header in get.http_headers.iter().flatten() {
        check::all(errors, &path.child("httpHeaders"), &header.name, names::header(&header.name));
    }
}
