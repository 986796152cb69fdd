//! Tables of what was measured, and who is slow.

use super::compared::{Compared, RankFigures};
use super::disk::IN_MEMORY;
use super::measured::{Measured, median};
use super::messages::Exchange;
use crate::machine;
use serde_json::json;
use vitreous_model::report::{Axis, Cell, Figure, Report, Series, Table};

/// A first reading is taken to have come from memory if it reaches this part of the speed of the second.
const FROM_CACHE: f64 = 0.7;

/// The report.
pub(super) fn make(ranks: &[RankFigures], exchanges: &[Exchange], slow: f64) -> Report {
    let all = Compared::all(ranks);
    let slow_ones: Vec<(&Compared, Vec<(usize, f64)>)> =
        all.iter().map(|compared| (compared, compared.slow(slow))).collect();
    let named = slow_ones.iter().map(|(_, slow)| slow.len()).sum::<usize>();
    let mut hosts: Vec<&str> = ranks.iter().map(|figures| figures.seen.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let mut report = Report::new(match (hosts.len(), named) {
        (1, 0) => "Speed of 1 host".to_string(),
        (hosts, 0) => format!("Speed of {hosts} hosts; none stands out"),
        (1, _) => "Speed of 1 host; some ranks are slow".to_string(),
        (hosts, _) => format!("Speed of {hosts} hosts; some are slow"),
    });
    numbers(&mut report, ranks, &all, hosts.len());
    for (compared, slow) in &slow_ones {
        for (rank, part) in slow {
            let host = &ranks[*rank].seen.host;
            report.notes.push(format!(
                "SLOW: rank {rank} on {host}: {} reaches {:.0} % of the median of all",
                compared.what,
                100.0 * part
            ));
        }
    }
    report.notes.extend(vector_note(ranks));
    report.notes.extend(disk_notes(ranks));
    report.tables.push(summary(&all, ranks));
    if !exchanges.is_empty() {
        report.tables.push(exchange_table(exchanges));
        report.figures.push(exchange_figure(exchanges));
    }
    report.tables.push(each_rank(&all, ranks, slow));
    let seen: Vec<machine::Seen> = ranks.iter().map(|figures| figures.seen.clone()).collect();
    report.tables.push(machine::table(&seen));
    records(&mut report, ranks, exchanges);
    report
}

fn numbers(report: &mut Report, ranks: &[RankFigures], all: &[Compared], hosts: usize) {
    report.number("hosts", "Hosts", hosts as f64, "");
    report.number("ranks", "Ranks", ranks.len() as f64, "");
    let threads: usize = ranks.iter().map(|figures| figures.seen.threads).sum();
    report.number("threads", "Threads of all ranks", threads as f64, "");
    let starting = |words: &str| all.iter().find(|compared| compared.what.starts_with(words));
    let sum =
        |words: &str| starting(words).map_or(f64::NAN, |c| c.ranks.iter().map(|(_, value)| value).sum());
    report.number("multiply_add_GFLOPs", "Multiply-add, all ranks", sum("multiply-add, all"), "GFLOP/s");
    report.number("memory_triad_GBs", "Memory (triad), all ranks", sum("memory, triad"), "GB/s");
    report.number("pose_search_images_s", "Pose search, all ranks", sum("pose search"), "images/s");
    if let Some(search) = starting("pose search").filter(|search| search.ranks.len() > 1) {
        let label = "Time that ranks of equal work would wait for the slowest";
        report.number("waiting_percent", label, 100.0 * search.waiting(), "%");
    }
}

/// With which vectors multiplications and additions were measured, and where.
fn vector_note(ranks: &[RankFigures]) -> Option<String> {
    let mut kinds: Vec<&str> = ranks.iter().map(|figures| figures.vectors.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let of = |kind: &&str| ranks.iter().filter(|figures| figures.vectors == **kind).count();
    let counted: Vec<String> = kinds.iter().map(|kind| format!("{kind} on {} rank(s)", of(kind))).collect();
    (!kinds.is_empty()).then(|| format!("Multiply-add was measured with {}.", counted.join(", ")))
}

/// What has to be known of the disks' figures.
fn disk_notes(ranks: &[RankFigures]) -> Vec<String> {
    let mut notes = Vec::new();
    for figures in ranks {
        let host = &figures.seen.host;
        notes.extend(
            figures.refused.iter().map(|(place, why)| format!("{host}: {place} was not measured: {why}")),
        );
        for (place, file_system) in &figures.file_systems {
            let is_in_memory = file_system == IN_MEMORY;
            let value = |what: &str| {
                let own =
                    figures.measured.iter().find(|measured| measured.what == format!("{place}, {what}"));
                own.map_or(f64::NAN, Measured::median)
            };
            let again = value("read again, from the cache");
            let is_cached = value("read, cache dropped") >= FROM_CACHE * again;
            notes.push(match (is_in_memory, is_cached) {
                (true, _) => format!("{host}: {place} is on {file_system}, which is kept in memory."),
                (false, true) => format!(
                    "{host}: {place} is on {file_system}. Reading it the first time is about as fast as the second time: \
                     some cache still held it, or the disk is as fast as that."
                ),
                (false, false) => format!("{host}: {place} is on {file_system}."),
            });
        }
    }
    if ranks.iter().any(|figures| !figures.file_systems.is_empty()) {
        notes.push(
            "Before a disk is read, the kernel is asked to drop the file from its cache (posix_fadvise); caches of servers, \
             of controllers and of the disk itself stay as they are."
                .into(),
        );
    }
    notes
}

/// One row for each kind of measurement.
fn summary(all: &[Compared], ranks: &[RankFigures]) -> Table {
    let columns = [
        ("measurement", ""),
        ("unit", ""),
        ("ranks", ""),
        ("smallest", ""),
        ("median", ""),
        ("largest", ""),
        ("slowest", ""),
    ];
    let mut table = Table::new("All ranks: medians of each", &columns);
    for compared in all {
        let [low, high] = compared.extremes();
        let worst = if compared.is_rate { low } else { high };
        let slowest = compared.ranks.iter().find(|(_, value)| *value == worst);
        let slowest = slowest.filter(|_| compared.ranks.len() > 1);
        let named = slowest.map_or(Cell::Absent, |(rank, _)| place_of(ranks, *rank).into());
        table.rows.push(vec![
            compared.what.as_str().into(),
            compared.unit.as_str().into(),
            (compared.ranks.len() as f64).into(),
            low.into(),
            compared.median().into(),
            high.into(),
            named,
        ]);
    }
    table
}

fn place_of(ranks: &[RankFigures], rank: usize) -> String {
    format!("rank {rank} on {}", ranks[rank].seen.host)
}

/// One row for each kind and rank, with the spread of its repeats.
fn each_rank(all: &[Compared], ranks: &[RankFigures], slow: f64) -> Table {
    let columns = [
        ("measurement", ""),
        ("rank", ""),
        ("host", ""),
        ("unit", ""),
        ("smallest", ""),
        ("median", ""),
        ("largest", ""),
        ("repeats", ""),
        ("verdict", ""),
    ];
    let mut table = Table::new("Each rank: its repeats", &columns);
    for compared in all {
        let slow: Vec<usize> = compared.slow(slow).into_iter().map(|(rank, _)| rank).collect();
        for (rank, _) in &compared.ranks {
            let own = ranks[*rank].measured.iter().find(|measured| measured.what == compared.what);
            let Some(measured) = own else { continue };
            let [low, high] = measured.extremes();
            table.rows.push(vec![
                measured.what.as_str().into(),
                (*rank as f64).into(),
                ranks[*rank].seen.host.as_str().into(),
                measured.unit.as_str().into(),
                low.into(),
                measured.median().into(),
                high.into(),
                (measured.values.len() as f64).into(),
                if slow.contains(rank) { "SLOW" } else { "" }.into(),
            ]);
        }
    }
    table
}

/// MB/s of a message that took so long.
fn bandwidth(bytes: usize, time_us: f64) -> f64 {
    bytes as f64 / time_us
}

fn exchange_table(exchanges: &[Exchange]) -> Table {
    let columns = [
        ("exchange", ""),
        ("message", "KiB"),
        ("shortest", "µs"),
        ("median", "µs"),
        ("longest", "µs"),
        ("message over median", "MB/s"),
    ];
    let mut table = Table::new("Between ranks: until the last rank is done", &columns);
    for exchange in exchanges {
        let times = exchange.times_us.iter().copied();
        let middle = median(times.clone());
        table.rows.push(vec![
            exchange.what.as_str().into(),
            (exchange.bytes as f64 / 1024.0).into(),
            times.clone().fold(f64::NAN, f64::min).into(),
            middle.into(),
            times.fold(f64::NAN, f64::max).into(),
            if exchange.bytes > 0 { bandwidth(exchange.bytes, middle).into() } else { Cell::Absent },
        ]);
    }
    table
}

/// Bandwidth over the message's size, both as powers of ten.
fn exchange_figure(exchanges: &[Exchange]) -> Figure {
    let mut series: Vec<Series> = Vec::new();
    for exchange in exchanges.iter().filter(|exchange| exchange.bytes > 0) {
        let at = (exchange.bytes as f64).log10();
        let speed = bandwidth(exchange.bytes, median(exchange.times_us.iter().copied())).log10();
        match series.iter_mut().find(|known| known.label == exchange.what) {
            Some(known) => {
                known.x.push(at);
                known.y.push(Some(speed));
            }
            None => series.push(Series::line(&exchange.what, vec![at], [speed])),
        }
    }
    Figure::Plot {
        id: "messages".into(),
        title: "Between ranks: speed by the size of the message".into(),
        x: Axis::new("log10 of the message", "bytes"),
        y: Axis::new("log10 of the speed", "MB/s"),
        series,
        levels: Vec::new(),
        x_is_resolution: false,
        equal_axes: false,
    }
}

/// Records for programs.
fn records(report: &mut Report, ranks: &[RankFigures], exchanges: &[Exchange]) {
    let of_rank = |(rank, figures): (usize, &RankFigures)| {
        let row = |measured: &Measured| {
            let [low, high] = measured.extremes();
            json!({
                "rank": rank,
                "host": figures.seen.host,
                "measurement": measured.what,
                "unit": measured.unit,
                "smallest": low,
                "median": measured.median(),
                "largest": high,
                "repeats": measured.values.len(),
            })
        };
        figures.measured.iter().map(row).collect::<Vec<_>>()
    };
    report.data.insert("measurements".into(), ranks.iter().enumerate().flat_map(of_rank).collect());
    let exchange = |exchange: &Exchange| {
        json!({
            "exchange": exchange.what,
            "bytes": exchange.bytes,
            "median_us": median(exchange.times_us.iter().copied()),
            "repeats": exchange.times_us.len(),
        })
    };
    if !exchanges.is_empty() {
        report.data.insert("exchanges".into(), exchanges.iter().map(exchange).collect());
    }
}
