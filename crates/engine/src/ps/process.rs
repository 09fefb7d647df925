//! Processes as the host's `/proc` tells them (proc(5)), and their rows.

use super::Plan;
use super::column::Column;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use stdx::{Context as _, Result};

/// The kernel's own unit for sizes in `stat`.
const PAGE_KIB: u64 = 4;

/// Processes, looked at once, and what of the host is needed to show them.
#[derive(Debug)]
pub(crate) struct Table {
    processes: Vec<Process>,
    host: Host,
}

#[derive(Debug)]
struct Host {
    /// Seconds since 1970 of the boot, and from the boot until now.
    boot: i64,
    uptime: f64,
    ticks: f64,
    memory_kib: u64,
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

#[derive(Debug)]
struct Process {
    pid: u32,
    thread: u32,
    name: String,
    args: String,
    /// `stat` from field 3 on.
    fields: Vec<String>,
    status: HashMap<String, String>,
    wchan: String,
    label: String,
}

impl Table {
    /// Looks at processes; those that have ended meanwhile are left out.
    pub(crate) fn look(pids: &[u32], threads: bool) -> Result<Self> {
        let host = Host::look()?;
        let mut processes = Vec::new();
        for pid in pids {
            let folder = PathBuf::from(format!("/proc/{pid}"));
            if !threads {
                processes.extend(Process::look(*pid, *pid, &folder));
                continue;
            }
            let Ok(tasks) = fs::read_dir(folder.join("task")) else { continue };
            let mut tasks: Vec<u32> =
                tasks.flatten().filter_map(|t| t.file_name().to_str()?.parse().ok()).collect();
            tasks.sort_unstable();
            for task in tasks {
                let folder = folder.join("task").join(task.to_string());
                processes.extend(Process::look(*pid, task, &folder));
            }
        }
        Ok(Self { processes, host })
    }

    pub(crate) fn rows(&self, plan: &Plan) -> Vec<Vec<String>> {
        let wanted = |p: &&Process| plan.only.is_empty() || plan.only.contains(&p.name);
        let row = |process: &Process| {
            plan.columns.iter().map(|(column, _)| self.host.show(process, *column)).collect()
        };
        self.processes.iter().filter(wanted).map(row).collect()
    }
}

impl Process {
    fn look(pid: u32, thread: u32, folder: &Path) -> Option<Self> {
        let stat = fs::read(folder.join("stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        // The name may contain anything, parentheses too.
        let (before, after) = stat.rsplit_once(')')?;
        let name = before.split_once('(')?.1.to_owned();
        let status = fs::read(folder.join("status")).ok()?;
        let status = String::from_utf8_lossy(&status)
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            .collect();
        let args = fs::read(folder.join("cmdline")).unwrap_or_default();
        let args = String::from_utf8_lossy(&args).trim_end_matches('\0').replace('\0', " ");
        let text = |name: &str| {
            let bytes = fs::read(folder.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).trim_end_matches(['\0', '\n']).to_owned()
        };
        Some(Self {
            pid,
            thread,
            name,
            args: printable(&args),
            fields: after.split_ascii_whitespace().map(str::to_owned).collect(),
            status,
            wchan: text("wchan"),
            label: text("attr/current"),
        })
    }

    /// Field `number` of `stat`, as proc(5) counts.
    fn field(&self, number: usize) -> &str {
        self.fields.get(number - 3).map_or("0", String::as_str)
    }

    fn number(&self, number: usize) -> u64 {
        self.field(number).parse().unwrap_or(0)
    }

    fn signed(&self, number: usize) -> i64 {
        self.field(number).parse().unwrap_or(0)
    }

    fn status(&self, key: &str) -> &str {
        self.status.get(key).map_or("", String::as_str)
    }

    /// Effective user or group.
    fn id(&self, key: &str) -> u32 {
        self.status(key).split_whitespace().nth(1).and_then(|id| id.parse().ok()).unwrap_or(0)
    }

    fn kib(&self, key: &str) -> u64 {
        self.status(key).split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    fn is_dead(&self) -> bool {
        self.field(3) == "Z"
    }

    fn command(&self, column: Column) -> String {
        match column {
            _ if self.is_dead() => format!("{} <defunct>", printable(&self.name)),
            Column::Args if self.args.is_empty() => format!("[{}]", printable(&self.name)),
            Column::Args => self.args.clone(),
            _ => printable(&self.name),
        }
    }

    /// `Ss+` and the like.
    fn state(&self) -> String {
        let mut state = self.field(3).to_owned();
        let nice = self.signed(19);
        let marks = [
            (nice < 0, '<'),
            (nice > 0, 'N'),
            (self.kib("VmLck") > 0, 'L'),
            (self.field(6) == self.pid.to_string(), 's'),
            (self.number(20) > 1, 'l'),
            (self.field(8) == self.field(5), '+'),
        ];
        state.extend(marks.iter().filter(|(on, _)| *on).map(|(_, mark)| mark));
        state
    }

    fn terminal(&self) -> String {
        let device = self.number(7);
        let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
        match major {
            0 => "?".to_owned(),
            4 if minor < 64 => format!("tty{minor}"),
            4 => format!("ttyS{}", minor - 64),
            5 if minor == 1 => "console".to_owned(),
            136..=143 => format!("pts/{}", minor + (major - 136) * 256),
            _ => "?".to_owned(),
        }
    }
}

impl Host {
    fn look() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).context(|| format!("read {path}"));
        let number = |text: Option<&str>| text.and_then(|t| t.trim().parse().ok()).unwrap_or(0.0);
        let stat = read("/proc/stat")?;
        let boot = stat.lines().find_map(|line| line.strip_prefix("btime "));
        let uptime = read("/proc/uptime")?;
        let memory = read("/proc/meminfo")?;
        let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let memory = memory.and_then(|m| m.split_whitespace().next()?.parse().ok());
        Ok(Self {
            boot: boot.and_then(|b| b.trim().parse().ok()).unwrap_or(0),
            uptime: number(uptime.split_whitespace().next()),
            #[expect(clippy::cast_precision_loss, reason = "it is 100")]
            ticks: rustix::param::clock_ticks_per_second() as f64,
            memory_kib: memory.unwrap_or(1),
            users: names("/etc/passwd"),
            groups: names("/etc/group"),
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "times and sizes to a few digits")]
    fn show(&self, p: &Process, column: Column) -> String {
        let ticks = p.number(14) + p.number(15);
        let cpu = ticks as f64 / self.ticks;
        let age = (self.uptime - p.number(22) as f64 / self.ticks).max(0.0);
        let percent = if age > 0.0 { cpu * 100.0 / age } else { 0.0 };
        let rss = p.number(24) * PAGE_KIB;
        let (cpu, age) = (whole(cpu), whole(age));
        let started = self.boot + i64::try_from(whole(self.uptime)).unwrap_or(0)
            - i64::try_from(age).unwrap_or(0);
        let text = (p.number(27).saturating_sub(p.number(26))) >> 10;
        match column {
            Column::Addr => "-".to_owned(),
            Column::Args | Column::Comm => p.command(column),
            Column::Blocked => p.status("SigBlk").to_owned(),
            Column::Caught => p.status("SigCgt").to_owned(),
            Column::Ignored => p.status("SigIgn").to_owned(),
            Column::Pending => p.status("SigPnd").to_owned(),
            Column::CpuPercent => format!("{percent:.1}"),
            Column::CpuWhole => whole(percent).min(99).to_string(),
            Column::Drs => (p.number(23) >> 10).saturating_sub(text).to_string(),
            Column::Trs => text.to_string(),
            Column::Elapsed => elapsed(age),
            Column::ElapsedSeconds => age.to_string(),
            Column::Flags => (p.number(9) >> 6 & 7).to_string(),
            Column::Gid => p.id("Gid").to_string(),
            Column::Group => named(&self.groups, p.id("Gid")),
            Column::Label if p.label.is_empty() => "-".to_owned(),
            Column::Label => p.label.clone(),
            Column::LongStart => {
                moment(started, |t, _| t.strftime("%a %b %e %H:%M:%S %Y").to_string())
            }
            Column::Lwp => p.thread.to_string(),
            Column::MajorFaults => p.number(12).to_string(),
            Column::MinorFaults => p.number(10).to_string(),
            Column::MemoryPercent => {
                format!("{:.1}", rss as f64 * 100.0 / self.memory_kib as f64)
            }
            Column::Nice => p.signed(19).to_string(),
            Column::Pgid => p.field(5).to_owned(),
            Column::Pid => p.pid.to_string(),
            Column::Ppid => p.field(4).to_owned(),
            Column::Pri => (39 - p.signed(18)).to_string(),
            Column::PriBsd => p.field(18).to_owned(),
            Column::PriSysV => (60 + p.signed(18)).to_string(),
            Column::Processor => p.field(39).to_owned(),
            Column::Rss => rss.to_string(),
            Column::Sid => p.field(6).to_owned(),
            Column::Size => (p.number(23) >> 12).to_string(),
            Column::Vsz => (p.number(23) >> 10).to_string(),
            Column::Start => moment(started, |t, _| {
                let format = if age < 86_400 { "%H:%M:%S" } else { "%b %d" };
                t.strftime(format).to_string()
            }),
            Column::StartBsd => moment(started, |t, _| {
                let format = if age < 86_400 { "%H:%M" } else { "%b%d" };
                t.strftime(format).to_string()
            }),
            Column::Stime => moment(started, |t, now| {
                let format = match (t.year() == now.year(), t.day_of_year() == now.day_of_year()) {
                    (true, true) => "%H:%M",
                    (true, false) => "%b%d",
                    (false, _) => "%Y",
                };
                t.strftime(format).to_string()
            }),
            Column::State => p.field(3).to_owned(),
            Column::StateLong => p.state(),
            Column::Threads => p.field(20).to_owned(),
            Column::Time => {
                let (days, rest) = (cpu / 86_400, cpu % 86_400);
                let days = if days > 0 { format!("{days}-") } else { String::new() };
                format!("{days}{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
            }
            Column::TimeBsd => format!("{}:{:02}", cpu / 60, cpu % 60),
            Column::Tpgid => p.field(8).to_owned(),
            Column::Tty => p.terminal(),
            Column::Uid => p.id("Uid").to_string(),
            Column::User => named(&self.users, p.id("Uid")),
            Column::Wchan if matches!(p.wchan.as_str(), "" | "0") => "-".to_owned(),
            Column::Wchan => p.wchan.chars().take(6).collect(),
        }
    }
}

/// Whole seconds or percents.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative")]
fn whole(number: f64) -> u64 {
    number as u64
}

/// `[[days-]hours:]minutes:seconds`
fn elapsed(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let short = format!("{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => short,
        (0, hours) => format!("{hours:02}:{short}"),
        (days, hours) => format!("{days}-{hours:02}:{short}"),
    }
}

fn moment(unix: i64, show: impl FnOnce(&jiff::Zoned, &jiff::Zoned) -> String) -> String {
    let now = jiff::Zoned::now();
    match jiff::Timestamp::from_second(unix) {
        Ok(stamp) => show(&stamp.to_zoned(now.time_zone().clone()), &now),
        Err(_) => "-".to_owned(),
    }
}

/// Names of the host's users or groups by number.
fn names(path: &str) -> HashMap<u32, String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(id))) = (fields.next(), fields.nth(1).map(str::parse)) {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

/// A name as `ps` fits it into its column; the number for who has none.
fn named(names: &HashMap<u32, String>, id: u32) -> String {
    match names.get(&id) {
        Some(name) if name.chars().count() > 8 => {
            format!("{}+", name.chars().take(7).collect::<String>())
        }
        Some(name) => name.clone(),
        None => id.to_string(),
    }
}

/// What a process calls itself is its own choice: nothing of it may reach a terminal but letters.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_shown() {
        let me = std::process::id();
        let plan =
            Plan::new("-o pid,ppid,comm,stat,rss,vsz,etime,time,user,uid,nlwp,lstart,tty,args")
                .unwrap();
        let rows = Table::look(&[me, 0], false).unwrap().rows(&plan);
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(row[0], me.to_string());
        assert!(row[4].parse::<u64>().unwrap() > 100, "{row:?}");
        assert!(row[13].contains(&row[2][..8.min(row[2].len())]), "{row:?}");
        let threads = Table::look(&[me], true).unwrap().rows(&Plan::new("-L").unwrap());
        assert!(!threads.is_empty() && threads.iter().all(|row| row[0] == me.to_string()));
    }

    #[test]
    fn times_are_written_as_ps_writes_them() {
        assert_eq!(elapsed(5), "00:05");
        assert_eq!(elapsed(92), "01:32");
        assert_eq!(elapsed(3 * 3600 + 61), "03:01:01");
        assert_eq!(elapsed(2 * 86_400 + 3600), "2-01:00:00");
        assert_eq!(printable("a\u{1b}[31mb"), "a?[31mb");
    }
}
