//! Offsets into the kernel's structures, in bytes. User space overrides each by its name here, which is
//! `STRUCT__MEMBER` in capitals; `STRUCT__SIZE` is a structure's own size.

use aya_ebpf::Global;

macro_rules! offsets {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        pub static $name: Global<u32> = Global::new(0);
    )* };
}

offsets! {
    TASK_STRUCT__PID
    TASK_STRUCT__TGID
    TASK_STRUCT__FLAGS
    TASK_STRUCT__START_BOOTTIME
    TASK_STRUCT__EXIT_CODE
    TASK_STRUCT__GROUP_LEADER
    TASK_STRUCT__REAL_PARENT
    TASK_STRUCT__SIGHAND
    TASK_STRUCT__SIGNAL
    TASK_STRUCT__COMM
    TASK_STRUCT__CGROUPS
    TASK_STRUCT__THREAD_PID
    TASK_STRUCT__MM
    MM_STRUCT__TOTAL_VM
    MM_STRUCT__RSS_STAT
    SIGHAND_STRUCT__ACTION
    KERNEL_SIGINFO__SI_CODE
    KERNEL_SIGINFO___SIFIELDS
    SIGNAL_STRUCT__LIVE
    SIGNAL_STRUCT__NR_THREADS
    SIGNAL_STRUCT__FLAGS
    SIGNAL_STRUCT__GROUP_EXIT_CODE
    PID__LEVEL
    PID__NUMBERS
    CSS_SET__DFL_CGRP
    CGROUP__LEVEL
    CGROUP__ANCESTORS
    CGROUP__KN
    KERNFS_NODE__ID
    MEM_CGROUP__CSS
    MEM_CGROUP__MEMORY
    PAGE_COUNTER__USAGE
    CGROUP_SUBSYS_STATE__CGROUP
    OOM_CONTROL__MEMCG
    OOM_CONTROL__CHOSEN
    OOM_CONTROL__TOTALPAGES
    SOCK__SK_PROTOCOL
    SOCK__SK_CGRP_DATA
    SOCK_COMMON__SKC_NUM
    SOCK_COMMON__SKC_FAMILY
    SOCK_COMMON__SKC_DADDR
    SOCK_COMMON__SKC_RCV_SADDR
    SOCK_COMMON__SKC_DPORT
    SOCK_COMMON__SKC_V6_DADDR
    SOCK_COMMON__SKC_V6_RCV_SADDR
    INET_SOCK__INET_SPORT
    K_SIGACTION__SIZE
    RSS_COUNTER__COUNT
    RSS_COUNTER__SIZE
}

/// How deep in the cgroup tree containers are; the root is level 0. Not from BTF: podbox's own layout.
#[unsafe(no_mangle)]
pub static CONTAINER_LEVEL: Global<u32> = Global::new(0);
