//! What a server takes of the machine: processor time and resident memory, of all its processes.

use std::fs;

use anyhow::Context;
use lab::Result;

/// Resident memory of a process and its children, bytes.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let mut total = resident_alone(pid)?;
    for child in children(pid)? {
        // It may have ended meanwhile.
        total += resident_alone(child).unwrap_or(0);
    }
    Ok(total)
}

/// Processor time of a process and its children so far, ns.
pub(crate) fn processor_ns(pid: u32) -> Result<u64> {
    let mut total = processor_ns_alone(pid)?;
    for child in children(pid)? {
        total += processor_ns_alone(child).unwrap_or(0);
    }
    Ok(total)
}

fn resident_alone(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

/// Of all threads that there are. `stat` counts in ticks, too coarse for a short run.
fn processor_ns_alone(pid: u32) -> Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let first = text.split(' ').next().unwrap_or_default();
        total += first.parse::<u64>().unwrap_or(0);
    }
    Ok(total)
}

fn children(pid: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if parent(child) == Some(pid) {
            children.push(child);
        }
    }
    Ok(children)
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}
