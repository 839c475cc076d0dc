"""What a terminal shows of a benchmark's results, and which goals they meet."""

import math
import sys
from dataclasses import dataclass
from typing import Any

from adapters import CHUNK_US_MAX, REQUEST_US_MAX
from guards import GOAL_US
from rich.console import Console
from rich.table import Table

WIDTH = 110  # Of a file or a pipe.
CONSOLE = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
NOTES = Console(stderr=True, style="dim", highlight=False)


@dataclass(frozen=True)
class Threshold:
    """A goal: the figure must not be above the limit."""

    what: str
    value: float
    limit: float
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.value <= self.limit  # False of NaN: what was not measured is not met.


def say(text: str) -> None:
    """Progress, on stderr."""
    NOTES.print(text, markup=False)


def show(results: dict[str, Any], promises: list[Threshold]) -> None:
    """Prints every table."""
    machine = results["machine"]
    CONSOLE.print(
        f"\n{machine['cpus']} CPUs, Python {machine['python']}, {machine['system']}, "
        f"load before {machine['load_before']:.1f}, {results['seconds']:.0f} s"
        + (" [yellow](quick: figures are rough)[/]" if results["quick"] else "")
    )
    if machine["load_before"] > machine["cpus"] / 2:
        CONSOLE.print("[yellow]other work ran on this machine: trust the ratios, not the times[/]")
    if "translation" in results:
        show_translation(results["translation"])
    if "guards" in results:
        show_guards(results["guards"], passthrough_us(results))
    if "idle_cores" not in results:  # Nothing was started.
        show_thresholds(promises)
        return
    idle = {name: sum(cores.values()) for name, cores in results["idle_cores"].items()}
    CONSOLE.print("idle: " + ", ".join(f"{name} {cores * 100:.1f} % of a CPU" for name, cores in idle.items()))
    if "cpu" in results:
        show_cpu(results["cpu"])
    if "latency" in results:
        show_latency(results["latency"])
    if "stream" in results:
        show_streams(results["stream"])
    if "hold" in results:
        show_hold(results["hold"])
    show_memory(results["memory"])
    show_thresholds(promises)


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    return made


def number(value: float, digits: int = 2) -> str:
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def ratio(results: dict[str, Any], key: str) -> float:
    if "gateway" not in results or "passthrough" not in results or not results["passthrough"][key]:
        return math.nan
    return float(results["gateway"][key] / results["passthrough"][key])


def show_cpu(cpu: dict[str, Any]) -> None:
    made = table("\nCPU per request, 16 connections", "", "ms", "ratio", "requests/s", "failed")
    for size, subjects in cpu.items():
        for name, figures in subjects.items():
            made.add_row(
                f"{size}, {name}",
                number(figures["cpu_ms"], 3),
                number(figures.get("ratio", math.nan)) if name == "gateway" else "",
                number(figures["requests_per_s"], 0),
                failures(figures),
            )
    CONSOLE.print(made)
    by_service(
        "\nCPU of the gateway by process, ms per request",
        {size: one["gateway"]["cpu_ms_by_service"] for size, one in cpu.items() if "gateway" in one},
    )


def failures(figures: dict[str, Any]) -> str:
    if not figures["failed"]:
        return "0"
    return f"[red]{figures['failed']}[/] ({', '.join(figures.get('problems', ()))})"


def by_service(title: str, columns: dict[str, dict[str, float]]) -> None:
    if not columns:
        return
    made = table(title, "", *columns)
    names = {name for column in columns.values() for name in column}
    for name in sorted(names, key=lambda one: -next(iter(columns.values())).get(one, 0.0)):
        made.add_row(name, *(number(column.get(name, 0.0), 3) for column in columns.values()))
    CONSOLE.print(made)


def show_translation(families: dict[str, dict[str, float]]) -> None:
    made = table("\nTranslation alone (CPU)", "family", "16 KB conversation, ms", "streamed chunk, µs")
    for name, figures in families.items():
        made.add_row(name, number(figures["request_us"] / 1000, 3), number(figures["chunk_us"], 1))
    CONSOLE.print(made)


def passthrough_us(results: dict[str, Any]) -> float:
    """CPU of a 1 KB request through the passthrough in this run."""
    figures = results.get("cpu", {}).get("1 KB", {}).get("passthrough", {})
    return float(figures.get("cpu_ms", math.nan)) * 1000


def show_guards(sizes: dict[str, dict[str, float]], bare_us: float) -> None:
    made = table(
        "\nAll default guards on a clean prompt (CPU)",
        "",
        "median, µs",
        "p99, µs",
        "of a passthrough's request",
        "texts",
    )
    for size, figures in sizes.items():
        made.add_row(
            size,
            number(figures["p50_us"], 0),
            number(figures["p99_us"], 0),
            f"{number(figures['p50_us'] / bare_us)} ×" if not math.isnan(bare_us) else "–",
            number(figures["texts"], 0),
        )
    CONSOLE.print(made)


def show_latency(latency: dict[str, Any]) -> None:
    made = table("\nLatency at 100 requests/s, ms", "", "p50", "p99", "max", "added p50", "added p99", "CPU", "failed")
    for name, figures in latency.items():
        added = name != "upstream"
        made.add_row(
            name,
            *(number(figures[key]) for key in ("p50_ms", "p99_ms", "max_ms")),
            number(figures["added_p50_ms"]) if added else "",
            number(figures["added_p99_ms"]) if added else "",
            number(figures["cpu_ms"], 3) if added else "",
            failures(figures),
        )
    CONSOLE.print(made)
    if "gateway" in latency:
        by_service("", {"ms per request at 100/s": latency["gateway"]["cpu_ms_by_service"]})


def show_streams(stream: dict[str, Any]) -> None:
    made = table(
        "\nStreams: 50 at once, 40 chunks/s each; delays in ms",
        "",
        "CPU ms/\n1,000 chunks",
        "\nratio",
        "added first\np50 / p99",
        "one way, first\np50 / p99",
        "one way, any\np50 / p99",
        "\nfailed",
    )
    for name, figures in stream.items():
        made.add_row(
            name,
            number(figures["cpu_ms_per_1000_chunks"], 1) if name != "upstream" else "",
            number(ratio(stream, "cpu_ms_per_1000_chunks")) if name == "gateway" else "",
            both(figures, "added_first_chunk") if name != "upstream" else "",
            both(figures, "first_chunk_delay"),
            both(figures, "chunk_delay"),
            failures(figures),
        )
    CONSOLE.print(made)
    if "gateway" in stream:
        by_service("", {"ms per 1,000 chunks": stream["gateway"]["cpu_ms_per_1000_chunks_by_service"]})


def both(figures: dict[str, Any], name: str) -> str:
    return f"{number(figures[f'{name}_p50_ms'])} / {number(figures[f'{name}_p99_ms'])}"


def show_hold(hold: dict[str, Any]) -> None:
    memory = hold["memory_mb"]
    made = table(f"\n{hold['streams']:,} slow streams, {hold['seconds']:.0f} s", "", "")
    made.add_row("failed", failures(hold))
    made.add_row("stalled", str(hold["stalled"]))
    made.add_row("longest gap between chunks sent 1 s apart", f"{number(hold['longest_gap_ms'], 0)} ms")
    made.add_row("one way p99", f"{number(hold['chunk_delay_p99_ms'], 1)} ms")
    made.add_row("CPUs used", number(hold["cpu_cores"]))
    made.add_row(
        "memory before / all there / peak / after",
        " / ".join(number(memory[key], 0) for key in ("before", "all_there", "peak", "after")) + " MB",
    )
    CONSOLE.print(made)


def show_memory(memory: dict[str, Any]) -> None:
    made = table("\nMemory at the end, MB", "", "processes", "RSS", "PSS")
    for subject, entries in memory.items():
        for name, entry in sorted(entries.items(), key=lambda one: -one[1]["pss"]):
            label = name if subject == "gateway" else subject
            made.add_row(label, str(entry["processes"]), number(entry["rss"], 0), number(entry["pss"], 0))
        if len(entries) > 1:
            made.add_row(f"{subject} in all", "", "", number(sum(entry["pss"] for entry in entries.values()), 0))
    CONSOLE.print(made)


def thresholds(results: dict[str, Any]) -> list[Threshold]:
    """Those goals that this run can judge."""
    found: list[Threshold] = []
    if families := results.get("translation"):
        costliest = max(families, key=lambda name: families[name]["request_us"])
        slowest = max(families, key=lambda name: families[name]["chunk_us"])
        found += [
            Threshold(
                f"translating 16 KB ({costliest})",
                families[costliest]["request_us"] / 1000,
                REQUEST_US_MAX / 1000,
                "ms",
            ),
            Threshold(f"translating a chunk ({slowest})", families[slowest]["chunk_us"], CHUNK_US_MAX, "µs"),
        ]
    found += [
        Threshold(f"all default guards on a clean {size}, median", results["guards"][size]["p50_us"], limit, "µs")
        for size, limit in GOAL_US.items()
        if "guards" in results
    ]
    if "gateway" in results.get("cpu", {}).get("1 KB", {}):
        small = results["cpu"]["1 KB"]
        found += [
            Threshold(
                "CPU of a 1 KB request against the passthrough", small["gateway"].get("ratio", math.nan), 4.0, "×"
            ),
            Threshold("CPU of a 1 KB request", small["gateway"]["cpu_ms"], 0.5, "ms"),
            Threshold("failed requests", sum(one["gateway"]["failed"] for one in results["cpu"].values()), 0),
        ]
    if "gateway" in results.get("latency", {}):
        latency = results["latency"]["gateway"]
        found += [
            Threshold("added at 100 requests/s, p50", latency["added_p50_ms"], 1.5, "ms"),
            Threshold("added at 100 requests/s, p99", latency["added_p99_ms"], 5.0, "ms"),
        ]
    if "gateway" in results.get("stream", {}):
        stream = results["stream"]["gateway"]
        found += [
            Threshold("first chunk after the provider's, p50", stream["first_chunk_delay_p50_ms"], 2.0, "ms"),
            Threshold("failed streams", stream["failed"], 0),
        ]
    if "hold" in results and "gateway" in results["memory"]:
        hold = results["hold"]
        found += [
            Threshold(f"failed of {hold['streams']:,} slow streams", hold["failed"], 0),
            Threshold(f"stalled of {hold['streams']:,} slow streams", hold["stalled"], 0),
            Threshold("growth of memory while they are held", hold["growth_while_held"] * 100, 5.0, "%"),
        ]
    return found


def show_thresholds(found: list[Threshold]) -> None:
    if not found:
        return
    made = table("\nThe design's thresholds", "", "measured", "at most", "")
    for one in found:
        mark = "[green]pass[/]" if one.met else "[red]FAIL[/]"
        digits = 0 if one.limit == 0 else 2
        made.add_row(one.what, f"{number(one.value, digits)} {one.unit}", f"{one.limit:g} {one.unit}", mark)
    CONSOLE.print(made)
