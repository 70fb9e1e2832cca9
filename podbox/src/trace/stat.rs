//! What `/proc/PID/stat` says of a process.

/// The state, as one letter, and when the process was started, in units of [`TICK_NS`](podbox_common::TICK_NS) since boot.
pub(super) fn fields(stat: &str) -> Option<(char, u64)> {
    // The command name, which may hold anything, ends at the last parenthesis; the state after it is the third field.
    let (_, after) = stat.rsplit_once(") ")?;
    let mut fields = after.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.trim_end().parse().ok()?))
}
