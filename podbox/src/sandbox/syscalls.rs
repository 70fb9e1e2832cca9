//! The system calls of the default seccomp profile, by subject. Data only: `seccomp` compiles it.
//!
//! A call is here when it can do nothing to the host that the container's other walls do not already stop.
//! `socket`, `personality` and `clone` are allowed with some arguments only, see `seccomp`.

use libc as c;

/// The newest call that the lists were written with: whatever is above did not exist then.
pub const LAST: u32 = 466;

/// Always allowed.
#[rustfmt::skip]
pub const ALWAYS: &[i64] = &[
    // Files and directories.
    c::SYS_access, c::SYS_chdir, c::SYS_chmod, c::SYS_chown, c::SYS_creat, c::SYS_close, c::SYS_close_range,
    c::SYS_copy_file_range, c::SYS_dup, c::SYS_dup2, c::SYS_dup3, c::SYS_faccessat, c::SYS_faccessat2,
    c::SYS_fadvise64, c::SYS_fallocate, c::SYS_fchdir, c::SYS_fchmod, c::SYS_fchmodat, c::SYS_fchown,
    c::SYS_fchownat, c::SYS_fcntl, c::SYS_fdatasync, c::SYS_flock, c::SYS_fstat, c::SYS_fstatfs,
    c::SYS_fsync, c::SYS_ftruncate, c::SYS_futimesat, c::SYS_getcwd, c::SYS_getdents, c::SYS_getdents64,
    c::SYS_ioctl, c::SYS_lchown, c::SYS_link, c::SYS_linkat, c::SYS_lseek, c::SYS_lstat, c::SYS_mkdir,
    c::SYS_mkdirat, c::SYS_mknod, c::SYS_mknodat, c::SYS_name_to_handle_at, c::SYS_newfstatat, c::SYS_open,
    c::SYS_openat, c::SYS_openat2, c::SYS_pread64, c::SYS_preadv, c::SYS_preadv2, c::SYS_pwrite64,
    c::SYS_pwritev, c::SYS_pwritev2, c::SYS_read, c::SYS_readahead, c::SYS_readlink, c::SYS_readlinkat,
    c::SYS_readv, c::SYS_rename, c::SYS_renameat, c::SYS_renameat2, c::SYS_rmdir, c::SYS_sendfile,
    c::SYS_splice, c::SYS_stat, c::SYS_statfs, c::SYS_statx, c::SYS_symlink, c::SYS_symlinkat, c::SYS_sync,
    c::SYS_sync_file_range, c::SYS_syncfs, c::SYS_tee, c::SYS_truncate, c::SYS_umask, c::SYS_unlink,
    c::SYS_unlinkat, c::SYS_utime, c::SYS_utimensat, c::SYS_utimes, c::SYS_vmsplice, c::SYS_write,
    c::SYS_writev,
    // Extended attributes.
    c::SYS_fgetxattr, c::SYS_flistxattr, c::SYS_fremovexattr, c::SYS_fsetxattr, c::SYS_getxattr,
    c::SYS_lgetxattr, c::SYS_listxattr, c::SYS_llistxattr, c::SYS_lremovexattr, c::SYS_lsetxattr,
    c::SYS_removexattr, c::SYS_setxattr,
    // Memory.
    c::SYS_brk, c::SYS_get_robust_list, c::SYS_madvise, c::SYS_membarrier, c::SYS_memfd_create,
    c::SYS_memfd_secret, c::SYS_mincore, c::SYS_mlock, c::SYS_mlock2, c::SYS_mlockall, c::SYS_mmap,
    c::SYS_mprotect, c::SYS_mremap, c::SYS_msync, c::SYS_munlock, c::SYS_munlockall, c::SYS_munmap,
    c::SYS_pkey_alloc, c::SYS_pkey_free, c::SYS_pkey_mprotect, c::SYS_process_mrelease,
    c::SYS_remap_file_pages, c::SYS_rseq, c::SYS_set_robust_list,
    // Processes and threads.
    c::SYS_alarm, c::SYS_capget, c::SYS_capset, c::SYS_execve, c::SYS_execveat, c::SYS_exit,
    c::SYS_exit_group, c::SYS_fork, c::SYS_futex, c::SYS_futex_waitv, c::SYS_getcpu, c::SYS_getegid,
    c::SYS_geteuid, c::SYS_getgid, c::SYS_getgroups, c::SYS_getpgid, c::SYS_getpgrp, c::SYS_getpid,
    c::SYS_getppid, c::SYS_getpriority, c::SYS_getresgid, c::SYS_getresuid, c::SYS_getrlimit,
    c::SYS_getrusage, c::SYS_getsid, c::SYS_gettid, c::SYS_getuid, c::SYS_ioprio_get, c::SYS_ioprio_set,
    c::SYS_kill, c::SYS_landlock_add_rule, c::SYS_landlock_create_ruleset, c::SYS_landlock_restrict_self,
    c::SYS_pause, c::SYS_pidfd_open, c::SYS_pidfd_send_signal, c::SYS_prctl, c::SYS_prlimit64,
    c::SYS_process_vm_readv, c::SYS_process_vm_writev, c::SYS_ptrace, c::SYS_restart_syscall,
    c::SYS_sched_get_priority_max, c::SYS_sched_get_priority_min, c::SYS_sched_getaffinity,
    c::SYS_sched_getattr, c::SYS_sched_getparam, c::SYS_sched_getscheduler, c::SYS_sched_rr_get_interval,
    c::SYS_sched_setaffinity, c::SYS_sched_setattr, c::SYS_sched_setparam, c::SYS_sched_setscheduler,
    c::SYS_sched_yield, c::SYS_seccomp, c::SYS_set_tid_address, c::SYS_setfsgid, c::SYS_setfsuid,
    c::SYS_setgid, c::SYS_setgroups, c::SYS_setpgid, c::SYS_setpriority, c::SYS_setregid, c::SYS_setresgid,
    c::SYS_setresuid, c::SYS_setreuid, c::SYS_setrlimit, c::SYS_setsid, c::SYS_setuid, c::SYS_tgkill,
    c::SYS_tkill, c::SYS_vfork, c::SYS_wait4, c::SYS_waitid,
    // Signals.
    c::SYS_rt_sigaction, c::SYS_rt_sigpending, c::SYS_rt_sigprocmask, c::SYS_rt_sigqueueinfo,
    c::SYS_rt_sigreturn, c::SYS_rt_sigsuspend, c::SYS_rt_sigtimedwait, c::SYS_rt_tgsigqueueinfo,
    c::SYS_sigaltstack, c::SYS_signalfd, c::SYS_signalfd4,
    // Waiting.
    c::SYS_epoll_create, c::SYS_epoll_create1, c::SYS_epoll_ctl, c::SYS_epoll_ctl_old, c::SYS_epoll_pwait,
    c::SYS_epoll_pwait2, c::SYS_epoll_wait, c::SYS_epoll_wait_old, c::SYS_eventfd, c::SYS_eventfd2,
    c::SYS_fanotify_mark, c::SYS_inotify_add_watch, c::SYS_inotify_init, c::SYS_inotify_init1,
    c::SYS_inotify_rm_watch, c::SYS_poll, c::SYS_ppoll, c::SYS_pselect6, c::SYS_select,
    // Pipes and sockets.
    c::SYS_accept, c::SYS_accept4, c::SYS_bind, c::SYS_connect, c::SYS_getpeername, c::SYS_getsockname,
    c::SYS_getsockopt, c::SYS_listen, c::SYS_pipe, c::SYS_pipe2, c::SYS_recvfrom, c::SYS_recvmmsg,
    c::SYS_recvmsg, c::SYS_sendmmsg, c::SYS_sendmsg, c::SYS_sendto, c::SYS_setsockopt, c::SYS_shutdown,
    c::SYS_socketpair,
    // Asynchronous I/O; io_uring is left out on purpose.
    c::SYS_io_cancel, c::SYS_io_destroy, c::SYS_io_getevents, c::SYS_io_setup, c::SYS_io_submit,
    // SysV and POSIX IPC.
    c::SYS_mq_getsetattr, c::SYS_mq_notify, c::SYS_mq_open, c::SYS_mq_timedreceive, c::SYS_mq_timedsend,
    c::SYS_mq_unlink, c::SYS_msgctl, c::SYS_msgget, c::SYS_msgrcv, c::SYS_msgsnd, c::SYS_semctl,
    c::SYS_semget, c::SYS_semop, c::SYS_semtimedop, c::SYS_shmat, c::SYS_shmctl, c::SYS_shmdt,
    c::SYS_shmget,
    // Clocks and timers.
    c::SYS_adjtimex, c::SYS_clock_adjtime, c::SYS_clock_getres, c::SYS_clock_gettime,
    c::SYS_clock_nanosleep, c::SYS_getitimer, c::SYS_gettimeofday, c::SYS_nanosleep, c::SYS_setitimer,
    c::SYS_time, c::SYS_timer_create, c::SYS_timer_delete, c::SYS_timer_getoverrun, c::SYS_timer_gettime,
    c::SYS_timer_settime, c::SYS_timerfd_create, c::SYS_timerfd_gettime, c::SYS_timerfd_settime,
    c::SYS_times,
    // The system.
    c::SYS_arch_prctl, c::SYS_get_thread_area, c::SYS_getrandom, c::SYS_modify_ldt, c::SYS_set_thread_area,
    c::SYS_sysinfo, c::SYS_uname,
    // Newer than libc's table, the same number on every architecture: cachestat, fchmodat2,
    // map_shadow_stack, futex_wake, futex_wait, futex_requeue, mseal, and setxattrat to removexattrat.
    451, 452, 453, 454, 455, 456, 462, 463, 464, 465, 466,
];

/// Allowed with a capability.
#[rustfmt::skip]
pub const WITH_CAPABILITY: &[(&str, &[i64])] = &[
    ("DAC_READ_SEARCH", &[c::SYS_open_by_handle_at]),
    ("SYS_ADMIN", &[c::SYS_bpf, c::SYS_clone, c::SYS_clone3, c::SYS_fanotify_init, c::SYS_fsconfig,
        c::SYS_fsmount, c::SYS_fsopen, c::SYS_fspick, c::SYS_lookup_dcookie, c::SYS_mount,
        c::SYS_mount_setattr, c::SYS_move_mount, c::SYS_open_tree, c::SYS_perf_event_open, c::SYS_quotactl,
        c::SYS_quotactl_fd, c::SYS_setdomainname, c::SYS_sethostname, c::SYS_setns, c::SYS_syslog,
        c::SYS_umount2, c::SYS_unshare]),
    ("SYS_BOOT", &[c::SYS_reboot]),
    ("SYS_CHROOT", &[c::SYS_chroot]),
    ("SYS_MODULE", &[c::SYS_delete_module, c::SYS_finit_module, c::SYS_init_module]),
    ("SYS_PACCT", &[c::SYS_acct]),
    ("SYS_PTRACE", &[c::SYS_kcmp, c::SYS_pidfd_getfd, c::SYS_process_madvise]),
    ("SYS_RAWIO", &[c::SYS_iopl, c::SYS_ioperm]),
    ("SYS_TIME", &[c::SYS_clock_settime, c::SYS_settimeofday]),
    ("SYS_TTY_CONFIG", &[c::SYS_vhangup]),
    ("SYS_NICE", &[c::SYS_get_mempolicy, c::SYS_mbind, c::SYS_set_mempolicy,
        c::SYS_set_mempolicy_home_node]),
    ("SYSLOG", &[c::SYS_syslog]),
    ("BPF", &[c::SYS_bpf]),
    ("PERFMON", &[c::SYS_perf_event_open]),
];
