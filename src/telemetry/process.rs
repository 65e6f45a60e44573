//! What the kernel knows of this process and its limits (Linux, proc(5) and cgroups(7)).

use std::fs;

/// The name of the counter of CPU time, which the page takes from here.
pub(in crate::telemetry) const CPU: &str = "process_cpu_seconds_total";

/// CPU time used so far, user and system, to a hundredth of a second.
pub(in crate::telemetry) fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // the name in parentheses may hold anything; what follows it is plain
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(USER_TICKS);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((f64::from(user) + f64::from(system)) / TICKS)
}

/// The memory this process may use: its control group's limit, or what the machine has.
pub(in crate::telemetry) fn memory_limit_bytes() -> Option<f64> {
    let limit = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limited = limit.and_then(|text| text.trim().parse::<f64>().ok());
    limited.or_else(|| {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kibibytes: f64 = total.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kibibytes * 1024.0)
    })
}

/// Field 14 of the line, counted after the name (fields 1 and 2).
const USER_TICKS: usize = 11;
/// `USER_HZ`, which is 100 wherever Linux runs on 64 bits.
const TICKS: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_understood() {
        assert!(cpu_seconds().unwrap() >= 0.0);
        assert!(memory_limit_bytes().unwrap() > 1e6);
    }
}
