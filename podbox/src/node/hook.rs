//! Calls a container's lifecycle hooks: a command in it, a request to a server in it, or a while of doing nothing.
//!
//! It decides neither when nor what follows; `pod::plan` does. Each call ends with its container's run at the latest,
//! so that nobody waits for what cannot come any more. What went wrong is worded as the kubelet words it.

use super::Node;
use super::http::{self, Manner, Request};
use super::record::PodRecord;
use crate::api::error::chain;
use crate::api::identity::ContainerRef;
use crate::clock;
use crate::limits;
use crate::pod::desired;
use crate::pod::observed::Hook;
use crate::sandbox::runtime::{ExecResult, ExecSpec, ExitStatus, Runtime};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, LifecycleHandler, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::net::TcpStream;

/// Calls a hook of a run; what it complained of, if it failed. `address` is the pod's own.
pub async fn call<R: Runtime, I>(
    node: &Node<R, I>,
    pod: &PodRecord,
    run: &ContainerRef,
    hook: Hook,
    address: Option<Ipv4Addr>,
) -> Result<(), String> {
    let container = pod.container(&run.name);
    let handler = container.and_then(|container| match hook {
        Hook::PostStart => desired::post_start(container),
        Hook::PreStop => desired::pre_stop(container),
    });
    // It was taken out of the manifest meanwhile.
    let (Some(container), Some(handler)) = (container, handler) else { return Ok(()) };
    let host = address.map_or_else(|| node.facts.host_ip.to_string(), |address| address.to_string());
    let told = |kind: &str, what: String, why: String| {
        let (name, pod) = (&run.name, &run.pod);
        let pod = format!("{}_{}({})", pod.name, pod.namespace, pod.uid);
        format!("{kind} lifecycle hook ({what}) for Container {name:?} in Pod {pod:?} failed - error: {why}")
    };
    let called = async {
        match handler {
            LifecycleHandler { exec: Some(exec), .. } => {
                let command = exec.command.clone().unwrap_or_default();
                let said = format!("[{}]", command.join(" "));
                execute(node, run, command).await.map_err(|why| told("Exec", said, why))
            }
            LifecycleHandler { http_get: Some(get), .. } => {
                let path = get.path.clone().unwrap_or_default();
                request(get, container, &host).await.map_err(|why| told("HTTP", path, why))
            }
            LifecycleHandler { tcp_socket: Some(socket), .. } => {
                connect(socket, container, &host).await.map_err(|why| told("TCP", host.clone(), why))
            }
            LifecycleHandler { sleep: Some(sleep), .. } => {
                tokio::time::sleep(Duration::from_secs(sleep.seconds.try_into().unwrap_or(0))).await;
                Ok(())
            }
            _ => Err("invalid handler: it names nothing to be done".to_owned()),
        }
    };
    tokio::select! {
        biased;
        result = called => result,
        // Also when the keeper cannot say: the container is looked after by who waits for its end.
        _ = node.runtime.wait(run) => Err("container terminated before its hook finished".to_owned()),
    }
}

async fn execute<R: Runtime, I>(
    node: &Node<R, I>,
    run: &ContainerRef,
    args: Vec<String>,
) -> Result<(), String> {
    let spec = ExecSpec { args, timeout: None, output_limit: limits::HOOK_OUTPUT, alone: false };
    let ExecResult { status, stdout, stderr, .. } =
        node.runtime.exec(run, &spec).await.map_err(|error| chain(&error))?;
    if status == ExitStatus::Code(0) {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    Err(format!("command exited with {}, message: {output:?}", status.code()))
}

/// Any answer will do, as with every kubelet.
async fn request(get: &HTTPGetAction, container: &Container, host: &str) -> Result<(), String> {
    let own = get.host.as_deref().filter(|host| !host.is_empty());
    let headers = get.http_headers.iter().flatten();
    let request = Request {
        secure: get.scheme.as_deref() == Some("HTTPS"),
        host: own.unwrap_or(host).to_owned(),
        port: port(&get.port, container)?,
        path: get.path.clone().unwrap_or_default(),
        headers: headers.map(|header| (header.name.clone(), header.value.clone())).collect(),
    };
    let manner = Manner {
        agent: "kube-lifecycle/1.36",
        deadline: None,
        body: 0,
        falls_back: true,
        sockets: &|_, _| {},
    };
    http::get(&request, &manner).await.map(drop).map_err(|failure| failure.why)
}

async fn connect(socket: &TCPSocketAction, container: &Container, host: &str) -> Result<(), String> {
    let own = socket.host.as_deref().filter(|host| !host.is_empty());
    let until = clock::instant() + limits::HOOK_CONNECT;
    let dialled = http::dial(own.unwrap_or(host), port(&socket.port, container)?, until, &|_, _| {});
    dialled.await.map(|_: TcpStream| ())
}

/// A port by its number, or by its name among the container's.
fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port);
            named.or_else(|| name.parse().ok())
        }
    };
    let number = number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number != 0);
    number.ok_or_else(|| match port {
        IntOrString::Int(number) => format!("invalid port number: {number}"),
        IntOrString::String(name) => format!("couldn't find port: {name:?} in the container"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_by_number_and_by_name() {
        let text = "{name: c, ports: [{name: web, containerPort: 8080}]}";
        let container: Container = serde_yaml::from_str(text).unwrap();
        let name = |name: &str| port(&IntOrString::String(name.to_owned()), &container);
        assert_eq!(port(&IntOrString::Int(80), &container), Ok(80));
        assert_eq!((name("web"), name("81")), (Ok(8080), Ok(81)));
        assert_eq!(name("none").unwrap_err(), "couldn't find port: \"none\" in the container");
        assert_eq!(port(&IntOrString::Int(0), &container).unwrap_err(), "invalid port number: 0");
    }
}
