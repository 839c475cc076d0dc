"""`make bench`: what the gateway costs, as a ratio to a bare passthrough that is measured in the same minutes.

Starts a mock provider, an aiohttp passthrough and the gateway with every default control on, loads them in turns and
prints CPU, latency, streams and memory. Every figure of one table comes from one run: absolute numbers depend on the
machine and on what else it does, ratios hardly.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import os
import platform
import resource
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import adapters
import guards
import processes
import report
import uvloop
from load import Load, Streams, Target, body, closed_loop, open_loop, percentile, streams

KEY = "llm-bench-key"
PARTS = ("translation", "guards", "cpu", "latency", "stream", "hold")
SIZES = {"1 KB": 1_024, "16 KB": 16_384}
CONNECTIONS = 16  # The load that the threshold is judged by.
MANY_CONNECTIONS = 64  # Shown beside it: what a hop costs when messages come together.
RATE = 100
STREAMS, CHUNK_RATE = 50, 40
QUIET_CORES, QUIET_WINDOW_S, QUIET_TIMEOUT_S = 0.08, 0.3, 3.0
STALL_MS = 1_000  # Beyond a stream's own pace.

# Limits so high that none is ever reached, so that Redis is asked about every one of them.
CONFIGURATION = """
endpoints:
  mock:
    provider: openai
    url: {upstream}/v1
    key: env:BENCH_PROVIDER_KEY
    models: ["*"]
policy:
  kinds: {{}}
limits:
  key: {{requests_per_minute: 60000000, burst: 1000000, concurrency: 1000000}}
  ip: {{requests_per_minute: 60000000, burst: 1000000, concurrency: 1000000}}
  tenant: {{requests_per_minute: 60000000, burst: 1000000, concurrency: 1000000}}
audit:
  mode: strict
prices:
  mock: {{input: "2.50", output: "10"}}
"""


@dataclass(frozen=True)
class Case:
    """What is sent at full load, and for how long at a time."""

    template: bytes
    seconds: float
    connections: int = CONNECTIONS


@dataclass(frozen=True)
class Plan:
    """How long each part takes."""

    warm_up_s: float = 2.0
    rounds: int = 8
    cpu_s: float = 1.5
    large_s: float = 1.0
    translation_rounds: int = 60
    guarded_texts: int = 600
    latency_rounds: int = 8  # Short turns, so that what else the machine does meets everybody alike.
    latency_s: float = 1.25
    stream_rounds: int = 2
    stream_s: float = 5.0
    idle_s: float = 5.0
    hold_streams: int = 1_000
    hold_s: int = 20


QUICK = Plan(
    warm_up_s=0.7,
    rounds=3,
    cpu_s=1.0,
    large_s=0.7,
    translation_rounds=20,
    guarded_texts=200,
    latency_rounds=3,
    latency_s=0.8,
    stream_rounds=1,
    stream_s=2.0,
    idle_s=1.0,
    hold_streams=200,
    hold_s=4,
)


@dataclass(frozen=True)
class Subject:
    """What is measured: where to send, and whose CPU and memory it is."""

    name: str
    target: Target
    pids: tuple[int, ...]


# -- what is started


@contextlib.asynccontextmanager
async def mock_upstream(port: int) -> AsyncIterator[str]:
    port = port or processes.free_port()
    process = processes.start([*processes.python("mock_upstream.py"), "--port", str(port)])
    url = f"http://{processes.LOOPBACK}:{port}"
    try:
        await processes.answering(process, f"{url}/health", 10)
        yield url
    finally:
        processes.stop(process)


@contextlib.asynccontextmanager
async def passthrough(upstream: str) -> AsyncIterator[Subject]:
    port = processes.free_port()
    chat = f"{upstream}/v1/chat/completions"
    command = [*processes.python("passthrough.py"), "--port", str(port), "--upstream", chat, "--key", KEY]
    process = processes.start(command)
    url = f"http://{processes.LOOPBACK}:{port}"
    try:
        await processes.answering(process, f"{url}/health", 10)
        yield Subject("passthrough", Target(f"{url}/v1/chat/completions", KEY), (process.pid,))
    finally:
        processes.stop(process)


@contextlib.asynccontextmanager
async def gateway(upstream: str, folder: Path, scale: str) -> AsyncIterator[Subject]:
    config, log = folder / "bench.yaml", folder / "up.log"
    config.write_text(CONFIGURATION.format(upstream=upstream))
    port, admin_port = processes.free_port(), processes.free_port()
    command = [
        Path(sys.executable).with_name("llmproxy"),
        "up",
        *("--config", config, "--port", str(port), "--admin-port", str(admin_port), "--data", folder / "data"),
        *(("--scale", scale) if scale else ()),
    ]
    process = processes.start(command, environment(), log)
    url = f"http://{processes.LOOPBACK}:{port}"
    try:
        began = time.monotonic()
        await processes.answering(process, f"{url}/readyz", 90, log)
        report.say(f"gateway ready after {time.monotonic() - began:.1f} s")
        yield Subject("gateway", Target(f"{url}/v1/chat/completions", KEY), (process.pid,))
    finally:
        processes.stop(process)


def environment() -> dict[str, str]:
    """Ours without provider keys, proxies and settings of some other gateway."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_PROXY", "_proxy"))}
    kept = {name: value for name, value in kept.items() if not name.startswith("LLM_PROXY_")}
    return kept | {"LLM_PROXY_API_KEYS": KEY, "BENCH_PROVIDER_KEY": "sk-upstream"}


@contextlib.asynccontextmanager
async def given_target(text: str) -> AsyncIterator[Subject]:
    url, key, pids = text.split(",")
    yield Subject("gateway", Target(url, key), tuple(int(pid) for pid in pids.split("+")))


# -- what is measured


async def warm_up(subjects: list[Subject], plan: Plan) -> None:
    """Connections, caches and interpreters as they are after a minute's work. Stops when a subject does not answer."""
    for subject in subjects:
        for size in SIZES.values():
            load = await closed_loop(subject.target, body(size), CONNECTIONS, plan.warm_up_s)
            if not load.good:
                raise processes.Failed(f"{subject.name} does not answer: {', '.join(load.problems)}")
        await streams(subject.target, body(1_024, stream=True), 8, chunks=16, ramp_s=0, timeout_s=10)


async def quiet(subject: Subject) -> None:
    """Returns when the subject has nothing left to do, so that what it put off (the ledger) is charged to who caused it."""
    until = time.monotonic() + QUIET_TIMEOUT_S
    while subject.pids and time.monotonic() < until:
        usage = processes.Usage(subject.pids)
        usage.begin()
        await asyncio.sleep(QUIET_WINDOW_S)
        if sum(usage.end().values()) < QUIET_CORES * QUIET_WINDOW_S:
            return


async def measure_idle(subjects: list[Subject], plan: Plan) -> dict[str, Any]:
    """CPUs used, by process, while nothing is asked."""
    usages = {subject.name: processes.Usage(subject.pids) for subject in subjects}
    for subject in subjects:
        await quiet(subject)
    for usage in usages.values():
        usage.begin()
    await asyncio.sleep(plan.idle_s)
    return {name: {who: used / plan.idle_s for who, used in usage.end().items()} for name, usage in usages.items()}


async def measure_cpu(subjects: list[Subject], plan: Plan) -> dict[str, Any]:
    """Milliseconds of CPU per request at full load: of a conversation that goes on, of one in which nothing was said before, and for
    the gateway with personal data to mask. Each round has a turn of everybody in every case, so that a minute in which the
    machine is slow is a round or two of each and no case's whole measurement."""
    cases: dict[str, Case] = {}
    for label, size in SIZES.items():
        cases[label] = Case(body(size), plan.cpu_s if size < 4_000 else plan.large_s)
        cases[f"{label}, all new"] = Case(body(size, is_new=True), plan.large_s)
    cases[f"1 KB, {MANY_CONNECTIONS} connections"] = Case(body(1_024), plan.large_s, MANY_CONNECTIONS)
    turns: dict[str, dict[str, list[dict[str, Any]]]] = {label: defaultdict(list) for label in cases}
    for number in range(plan.rounds):
        for label, case in cases.items():
            for subject in subjects if number % 2 == 0 else reversed(subjects):
                turns[label][subject.name].append(await cpu_turn(subject, case))
    found = {label: compared(collected) for label, collected in turns.items()}
    masked = [subject for subject in subjects if subject.name == "gateway"]
    if masked:
        found["1 KB, masked"] = {
            "gateway": middle([await cpu_turn(masked[0], Case(body(1_024, personal=True), plan.large_s))])
        }
    return found


async def cpu_turn(subject: Subject, case: Case) -> dict[str, Any]:
    usage = processes.Usage(subject.pids)
    usage.begin()
    load = await closed_loop(subject.target, case.template, case.connections, case.seconds)
    await quiet(subject)
    used = usage.end()
    return {
        "requests_per_s": load.good / load.seconds,
        "cpu_ms": {name: value * 1000 / max(load.good, 1) for name, value in used.items()},
        "failed": load.failed,
        "problems": load.problems,
    }


def compared(turns: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The figures of each subject, and the ratios of turns that were neighbours in time, which met the same machine."""
    found = {name: middle(own) for name, own in turns.items()}
    if "gateway" in found and "passthrough" in found:
        ratios = [
            sum(ours["cpu_ms"].values()) / sum(bare["cpu_ms"].values())
            for ours, bare in zip(turns["gateway"], turns["passthrough"], strict=True)
        ]
        found["gateway"] |= {"ratio": median(ratios), "ratios": ratios}
    return found


def middle(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of the rounds, and the rounds."""
    services = {name for turn in turns for name in turn["cpu_ms"]}
    return {
        "cpu_ms": median(sum(turn["cpu_ms"].values()) for turn in turns),
        "cpu_ms_by_service": {
            name: median(turn["cpu_ms"].get(name, 0.0) for turn in turns) for name in sorted(services)
        },
        "requests_per_s": median(turn["requests_per_s"] for turn in turns),
        "failed": sum(turn["failed"] for turn in turns),
        "problems": sorted({problem for turn in turns for problem in turn["problems"]}),
        "rounds": turns,
    }


async def measure_latency(subjects: list[Subject], upstream: Target, plan: Plan) -> dict[str, Any]:
    """Open loop; what is added to the provider's own answer time."""
    samples: dict[str, list[float]] = defaultdict(list)
    failed: dict[str, int] = defaultdict(int)
    cpu_s: dict[str, list[dict[str, float]]] = defaultdict(list)
    everybody = [Subject("upstream", upstream, ()), *subjects]
    for _ in range(plan.latency_rounds):
        for subject in everybody:
            usage = processes.Usage(subject.pids)
            usage.begin()
            load: Load = await open_loop(subject.target, body(1_024), RATE, plan.latency_s)
            cpu_s[subject.name].append(usage.end())
            samples[subject.name] += load.latency_ms
            failed[subject.name] += load.failed
    alone = sorted(samples["upstream"])
    return {
        name: {
            "samples": len(values),
            "failed": failed[name],
            "p50_ms": percentile(sorted(values), 0.5),
            "p99_ms": percentile(sorted(values), 0.99),
            "max_ms": max(values, default=float("nan")),
            "added_p50_ms": percentile(sorted(values), 0.5) - percentile(alone, 0.5),
            "added_p99_ms": percentile(sorted(values), 0.99) - percentile(alone, 0.99),
            "cpu_ms": sum(sum(used.values()) for used in cpu_s[name]) * 1000 / max(len(values), 1),
            "cpu_ms_by_service": {
                who: sum(used.get(who, 0.0) for used in cpu_s[name]) * 1000 / max(len(values), 1)
                for who in sorted({who for used in cpu_s[name] for who in used})
            },
        }
        for name, values in samples.items()
    }


async def measure_streams(subjects: list[Subject], upstream: Target, plan: Plan) -> dict[str, Any]:
    """Streams at the pace of a model: CPU per chunk, and how long a chunk is on its way."""
    chunks = int(plan.stream_s * CHUNK_RATE)
    template = body(1_024, model=f"mock-c{chunks}-i{1000 // CHUNK_RATE}", stream=True)
    rounds: dict[str, list[tuple[Streams, dict[str, float]]]] = defaultdict(list)
    for _ in range(plan.stream_rounds):
        for subject in [Subject("upstream", upstream, ()), *subjects]:
            usage = processes.Usage(subject.pids)
            usage.begin()
            ran = await streams(
                subject.target, template, STREAMS, chunks=chunks, ramp_s=0.5, timeout_s=plan.stream_s * 4 + 10
            )
            await quiet(subject)
            rounds[subject.name].append((ran, usage.end()))
    alone = sorted(value for ran, _ in rounds["upstream"] for value in ran.first_chunk_ms)
    return {name: stream_figures(turns, alone) for name, turns in rounds.items()}


def stream_figures(turns: list[tuple[Streams, dict[str, float]]], alone: list[float]) -> dict[str, Any]:
    first = sorted(value for ran, _ in turns for value in ran.first_chunk_ms)
    first_delay = sorted(value for ran, _ in turns for value in ran.first_delay_ms)
    delay = sorted(value for ran, _ in turns for value in ran.delay_ms)
    per_thousand = [{name: value * 1e6 / max(ran.chunks, 1) for name, value in used.items()} for ran, used in turns]
    return {
        "streams": sum(ran.good + ran.failed for ran, _ in turns),
        "failed": sum(ran.failed for ran, _ in turns),
        "problems": sorted({problem for ran, _ in turns for problem in ran.problems}),
        "chunks": sum(ran.chunks for ran, _ in turns),
        "cpu_ms_per_1000_chunks": median(sum(one.values()) for one in per_thousand),
        "cpu_ms_per_1000_chunks_by_service": {
            name: median(one.get(name, 0.0) for one in per_thousand) for name in sorted(per_thousand[0])
        },
        "added_first_chunk_p50_ms": percentile(first, 0.5) - percentile(alone, 0.5),
        "added_first_chunk_p99_ms": percentile(first, 0.99) - percentile(alone, 0.99),
        "first_chunk_delay_p50_ms": percentile(first_delay, 0.5),
        "first_chunk_delay_p99_ms": percentile(first_delay, 0.99),
        "chunk_delay_p50_ms": percentile(delay, 0.5),
        "chunk_delay_p99_ms": percentile(delay, 0.99),
    }


async def measure_hold(subject: Subject, plan: Plan) -> dict[str, Any]:
    """Many slow streams at once: none may fail or stall, and memory must not grow while they run."""
    template = body(1_024, model=f"mock-c{plan.hold_s}-i1000", stream=True)
    await asyncio.sleep(1)
    before = processes.memory_mb(subject.pids)
    samples: list[float] = []
    all_there = asyncio.Event()

    async def watch() -> None:
        await all_there.wait()
        while True:
            await asyncio.sleep(1)
            samples.append(processes.total_mb(subject.pids))

    watching = asyncio.create_task(watch())
    usage = processes.Usage(subject.pids)
    usage.begin()
    ran = await streams(
        subject.target,
        template,
        plan.hold_streams,
        chunks=plan.hold_s,
        ramp_s=min(3.0, plan.hold_streams / 300),
        timeout_s=plan.hold_s * 2 + 20,
        stall_ms=1_000 + STALL_MS,
        all_sent=all_there.set,
    )
    watching.cancel()
    used = usage.end()
    await asyncio.sleep(2)
    after = processes.memory_mb(subject.pids)
    total = sum(entry["pss"] for entry in before.values())
    return {
        "streams": plan.hold_streams,
        "seconds": ran.seconds,
        "failed": ran.failed,
        "stalled": ran.stalled,
        "problems": ran.problems,
        "longest_gap_ms": ran.gap_ms[-1] if ran.gap_ms else float("nan"),
        "chunk_delay_p99_ms": percentile(ran.delay_ms, 0.99),
        "cpu_cores": sum(used.values()) / ran.seconds,
        "memory_mb": {
            "before": total,
            "all_there": samples[0] if samples else float("nan"),
            "peak": max(samples, default=float("nan")),
            "after": sum(entry["pss"] for entry in after.values()),
        },
        "growth_while_held": max(samples) / samples[0] - 1 if samples else float("nan"),
        "before_by_service": before,
        "after_by_service": after,
    }


# -- the whole


async def measure(given: argparse.Namespace) -> dict[str, Any]:
    plan = QUICK if given.quick else Plan()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)  # What was started is stopped first.
    chosen = given.only.split(",") if given.only else PARTS
    results: dict[str, Any] = {"machine": machine(), "quick": given.quick}
    if "translation" in chosen:
        report.say("translation, in this process")
        results["translation"] = adapters.measure(plan.translation_rounds)
    if "guards" in chosen:
        report.say("guards, in this process")
        results["guards"] = guards.measure(plan.guarded_texts)
    if set(chosen) <= {"translation", "guards"}:
        return results
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmproxy-bench-")))
        upstream = await stack.enter_async_context(mock_upstream(given.mock_port))
        yardstick = await stack.enter_async_context(passthrough(upstream))
        subjects = [yardstick]
        if given.target:
            subjects.append(await stack.enter_async_context(given_target(given.target)))
        elif not given.passthrough_only:
            subjects.append(await stack.enter_async_context(gateway(upstream, folder, given.scale)))
        alone = Target(f"{upstream}/v1/chat/completions", KEY)
        gc.collect()
        gc.freeze()
        gc.disable()  # The generator's own pauses are not the gateway's.
        report.say("warming up")
        await warm_up(subjects, plan)
        results["idle_cores"] = await measure_idle(subjects, plan)
        if "cpu" in chosen:
            report.say("CPU per request")
            results["cpu"] = await measure_cpu(subjects, plan)
        if "latency" in chosen:
            report.say(f"latency at {RATE} requests/s")
            results["latency"] = await measure_latency(subjects, alone, plan)
        if "stream" in chosen:
            report.say(f"{STREAMS} streams of {CHUNK_RATE} chunks/s")
            results["stream"] = await measure_streams(subjects, alone, plan)
        if "hold" in chosen:
            report.say(f"{plan.hold_streams} slow streams for {plan.hold_s} s")
            results["hold"] = await measure_hold(subjects[-1], plan)
        results["memory"] = {subject.name: processes.memory_mb(subject.pids) for subject in subjects}
    return results


def machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": os.getloadavg()[0],
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less than a minute; for a first look")
    parser.add_argument("--only", default="", help=f"comma-separated parts of: {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a threshold is missed")
    parser.add_argument("--scale", default="", help="passed on to `llmproxy up`, such as edge=2,shield=2")
    parser.add_argument("--target", default="", help="URL,KEY,PID[+PID...]: measure this instead of starting a gateway")
    parser.add_argument(
        "--mock-port", type=int, default=0, help="the mock provider's port, for a --target that must know it"
    )
    parser.add_argument("--passthrough-only", action="store_true", help="measure the yardstick alone")
    given = parser.parse_args()
    unknown = set(given.only.split(",") if given.only else ()) - set(PARTS)
    if unknown:
        parser.error(f"--only {','.join(sorted(unknown))}: not a part; choose from {', '.join(PARTS)}")
    return given


def main() -> int:
    given = arguments()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 65_536), hard))
    began = time.monotonic()
    try:
        results = uvloop.run(measure(given))
    except processes.Failed as error:
        report.say(f"cannot measure: {error}")
        return 2
    except asyncio.CancelledError:
        return 130
    results["seconds"] = time.monotonic() - began
    promises = report.thresholds(results)
    results["thresholds"] = [{**asdict(one), "met": one.met} for one in promises]
    if given.json:
        given.json.write_text(json.dumps(results, indent=2) + "\n")
    report.show(results, promises)
    return 1 if given.check and not all(one.met for one in promises) else 0


if __name__ == "__main__":
    sys.exit(main())
