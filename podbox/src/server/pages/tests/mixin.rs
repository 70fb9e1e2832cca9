//! What kubernetes-mixin's dashboards, rules and alerts ask for: each name is told by a page, or by `dashboards/README.md` as one that
//! is not, with the reason. Series that its own rules record are not among them, nor are those of Prometheus' (`up`).

use super::names;
use crate::metrics;
use std::collections::BTreeSet;

/// The names.
const ASKED: &str = "
    aggregator_unavailable_apiservice
    aggregator_unavailable_apiservice_total
    apiserver_client_certificate_expiration_seconds_bucket
    apiserver_client_certificate_expiration_seconds_count
    apiserver_current_inflight_requests
    apiserver_request_sli_duration_seconds_bucket
    apiserver_request_sli_duration_seconds_count
    apiserver_request_terminations_total
    apiserver_request_total
    container_cpu_cfs_periods_total
    container_cpu_cfs_throttled_periods_total
    container_cpu_cfs_throttled_seconds_total
    container_cpu_usage_seconds_total
    container_fs_reads_bytes_total
    container_fs_reads_total
    container_fs_writes_bytes_total
    container_fs_writes_total
    container_memory_cache
    container_memory_rss
    container_memory_swap
    container_memory_working_set_bytes
    container_network_receive_bytes_total
    container_network_receive_packets_dropped_total
    container_network_receive_packets_total
    container_network_transmit_bytes_total
    container_network_transmit_packets_dropped_total
    container_network_transmit_packets_total
    go_goroutines
    kube_daemonset_status_current_number_scheduled
    kube_daemonset_status_desired_number_scheduled
    kube_daemonset_status_number_available
    kube_daemonset_status_number_misscheduled
    kube_daemonset_status_updated_number_scheduled
    kube_deployment_metadata_generation
    kube_deployment_spec_replicas
    kube_deployment_status_condition
    kube_deployment_status_observed_generation
    kube_deployment_status_replicas_available
    kube_deployment_status_replicas_updated
    kube_horizontalpodautoscaler_spec_max_replicas
    kube_horizontalpodautoscaler_spec_min_replicas
    kube_horizontalpodautoscaler_status_current_replicas
    kube_horizontalpodautoscaler_status_desired_replicas
    kube_job_failed
    kube_job_owner
    kube_job_status_active
    kube_job_status_start_time
    kube_node_info
    kube_node_role
    kube_node_spec_taint
    kube_node_spec_unschedulable
    kube_node_status_allocatable
    kube_node_status_capacity
    kube_node_status_condition
    kube_persistentvolume_status_phase
    kube_persistentvolumeclaim_access_mode
    kube_persistentvolumeclaim_labels
    kube_pod_container_info
    kube_pod_container_resource_limits
    kube_pod_container_resource_requests
    kube_pod_container_status_waiting_reason
    kube_pod_info
    kube_pod_owner
    kube_pod_resource_limit
    kube_pod_resource_request
    kube_pod_status_phase
    kube_poddisruptionbudget_status_current_healthy
    kube_poddisruptionbudget_status_desired_healthy
    kube_replicaset_owner
    kube_resourcequota
    kube_statefulset_metadata_generation
    kube_statefulset_replicas
    kube_statefulset_status_current_revision
    kube_statefulset_status_observed_generation
    kube_statefulset_status_replicas
    kube_statefulset_status_replicas_ready
    kube_statefulset_status_replicas_updated
    kube_statefulset_status_update_revision
    kubelet_certificate_manager_client_expiration_renew_errors
    kubelet_certificate_manager_client_ttl_seconds
    kubelet_certificate_manager_server_ttl_seconds
    kubelet_cgroup_manager_duration_seconds_bucket
    kubelet_cgroup_manager_duration_seconds_count
    kubelet_evictions
    kubelet_node_config_error
    kubelet_node_name
    kubelet_pleg_relist_duration_seconds_bucket
    kubelet_pleg_relist_duration_seconds_count
    kubelet_pleg_relist_interval_seconds_bucket
    kubelet_pod_start_duration_seconds_bucket
    kubelet_pod_start_duration_seconds_count
    kubelet_pod_worker_duration_seconds_bucket
    kubelet_pod_worker_duration_seconds_count
    kubelet_running_containers
    kubelet_running_pods
    kubelet_runtime_operations_duration_seconds_bucket
    kubelet_runtime_operations_errors_total
    kubelet_runtime_operations_total
    kubelet_server_expiration_renew_errors
    kubelet_volume_stats_available_bytes
    kubelet_volume_stats_capacity_bytes
    kubelet_volume_stats_inodes
    kubelet_volume_stats_inodes_free
    kubelet_volume_stats_inodes_used
    kubelet_volume_stats_used_bytes
    kubeproxy_network_programming_duration_seconds_bucket
    kubeproxy_network_programming_duration_seconds_count
    kubeproxy_sync_proxy_rules_duration_seconds_bucket
    kubeproxy_sync_proxy_rules_duration_seconds_count
    kubernetes_build_info
    node_cpu_seconds_total
    node_disk_read_bytes_total
    node_disk_reads_completed_total
    node_disk_writes_completed_total
    node_disk_written_bytes_total
    node_filesystem_files
    node_filesystem_files_free
    node_filesystem_free_bytes
    node_filesystem_size_bytes
    node_memory_Buffers_bytes
    node_memory_Cached_bytes
    node_memory_MemAvailable_bytes
    node_memory_MemFree_bytes
    node_memory_MemTotal_bytes
    node_memory_Slab_bytes
    node_memory_SwapFree_bytes
    node_memory_SwapTotal_bytes
    node_netstat_TcpExt_TCPSynRetrans
    node_netstat_Tcp_OutSegs
    node_netstat_Tcp_RetransSegs
    node_network_receive_bytes_total
    node_network_receive_packets_dropped_total
    node_network_receive_packets_total
    node_network_transmit_bytes_total
    node_network_transmit_packets_dropped_total
    node_network_transmit_packets_total
    process_cpu_seconds_total
    process_resident_memory_bytes
    rest_client_request_duration_seconds_bucket
    rest_client_requests_total
    scheduler_binding_duration_seconds_bucket
    scheduler_binding_duration_seconds_count
    scheduler_e2e_scheduling_duration_seconds_bucket
    scheduler_e2e_scheduling_duration_seconds_count
    scheduler_scheduling_algorithm_duration_seconds_bucket
    scheduler_scheduling_algorithm_duration_seconds_count
    scheduler_scheduling_attempt_duration_seconds_bucket
    scheduler_scheduling_attempt_duration_seconds_count
    scheduler_volume_scheduling_duration_seconds_bucket
    scheduler_volume_scheduling_duration_seconds_count
    storage_operation_duration_seconds_bucket
    storage_operation_duration_seconds_count
    storage_operation_errors_total
    volume_manager_total_volumes
    windows_container_available
    windows_container_cpu_usage_seconds_total
    windows_container_memory_usage_commit_bytes
    windows_cpu_time_total
    windows_logical_disk_free_bytes
    windows_logical_disk_size_bytes
    windows_memory_available_bytes
    windows_memory_cache_bytes
    windows_memory_swap_page_operations_total
    windows_net_bytes_total
    windows_os_visible_memory_bytes
    windows_system_system_up_time
    workqueue_adds_total
    workqueue_depth
    workqueue_queue_duration_seconds_bucket
";

/// The names of all series that any page can have.
pub fn told() -> BTreeSet<String> {
    let mut told = names();
    for row in metrics::TABLE {
        match row.kind {
            metrics::Kind::Histogram => {
                told.extend(["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", row.name)));
            }
            _ => drop(told.insert(row.name.to_owned())),
        }
    }
    told
}

/// What the README's table says is not told: names, or their beginnings, and why.
fn not_told(readme: &str) -> Vec<(&str, &str)> {
    let table = readme.split_once("| not told | asked for by | why |").expect("the table is there").1;
    let rows = table.trim_start().lines().skip(1).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let named = cells.map(|cells| match cells[..] {
        [names, _, why] => (names, why),
        _ => panic!("{cells:?} is no row of three"),
    });
    named.flat_map(|(names, why)| names.split(", ").map(move |name| (name.trim_matches('`'), why))).collect()
}

#[test]
fn what_kubernetes_mixin_asks_for_is_told_or_the_readme_says_why_not() {
    let readme = include_str!("../../../../../dashboards/README.md");
    let (told, not_told) = (told(), not_told(readme));
    let is = |pattern: &str, name: &str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    };
    let mut needed = BTreeSet::<&str>::new();
    for name in ASKED.split_whitespace() {
        let row = not_told.iter().find(|(pattern, _)| is(pattern, name));
        assert_eq!(row.is_none(), told.contains(name), "{name}: {row:?}");
        needed.extend(row.map(|(pattern, _)| *pattern));
    }
    for (pattern, why) in &not_told {
        assert!(needed.contains(pattern), "{pattern} is nothing that is asked for");
        assert!(!why.is_empty(), "{pattern}");
    }
}
