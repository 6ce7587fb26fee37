"""Detectors of the Agent Governance Toolkit over sessions that behave as learnt, and over sessions that changed.

usage: agt.py simulated FOLDER [DRAWS [SESSIONS]]   FOLDER as `export_simulated_sessions` wrote it; so many baselines of each
                                             fleet, and so many sessions of each: 8 and 250, which is all, where not said
       agt.py recorded TRACES [RECORDING]…   each fifth of a recording, by task, after the other four

How a session is fed, and what counts as an alarm, is said at each detector. A detector is asked after every call, as the
toolkit's own middleware does.
"""

import collections, functools, gzip, hashlib, itertools, json, logging, os, statistics, sys
import warnings
from datetime import datetime, timezone

# The modules say that the packages they once came in are deprecated; they come in those of requirements.txt.
warnings.simplefilter("ignore", DeprecationWarning)

from agent_sre.anomaly import AnomalyDetector, DetectorConfig, RogueAgentDetector, RogueDetectorConfig
from agent_sre.anomaly.rogue_detector import ToolCallFrequencyAnalyzer
from agentmesh.services import behavior_monitor
from hypervisor.models import ExecutionRing
from hypervisor.rings import breach_detector

logging.disable(logging.CRITICAL)
Call = collections.namedtuple("Call", "time tool failed latency_ms tokens cost_usd")
# Steps that call without naming a tool are none of these detectors' business.
AGENT = "agent"


def lines(path):
    with gzip.open(path, "rt") as file:
        yield from map(json.loads, file)


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def sessions(path):
    """`{session: [Call…]}`: each call with what came of it, in the order of the file."""
    out, open_calls = collections.OrderedDict(), {}
    for step in lines(path):
        calls = out.setdefault(step["session_id"], [])
        usage = step.get("usage") or {}
        if step["kind"] == "tool_call":
            open_calls[step["session_id"]] = len(calls)
            calls.append(Call(seconds(step["time"]), step["tool"], False, None, usage.get("output_tokens"), usage.get("cost_usd")))
        elif step["kind"] == "tool_result" and step["session_id"] in open_calls:
            at = open_calls[step["session_id"]]
            took = step.get("duration_ms", (seconds(step["time"]) - calls[at].time) * 1000)
            calls[at] = calls[at]._replace(failed=step.get("status") == "error", latency_ms=took)
    return {it: calls for it, calls in out.items() if calls}


@functools.lru_cache(maxsize=8)
def learnt(folder, fleet, draw):
    return sessions(os.path.join(folder, f"{fleet}-{draw}-learn.jsonl.gz"))


def in_turn(some):
    """Calls of all sessions as an agent that serves them makes them."""
    return sorted(((call.time, number, session, call) for session, calls in some.items() for number, call in enumerate(calls)), key=lambda it: it[:3])


# --- RogueAgentDetector: frequency of calls, entropy of tools, tools outside of the profile ----------------------------

WINDOWS = (10.0, 60.0, 300.0)


def rogue(learn, judge, each_session):
    """Scores of every call: frequency for each window, entropy in bits where it is asked for, score of the entropy, share of
    calls outside of the profile, quarantined.

    The profile are the tools of the sessions learnt from. Fed as one agent that makes the calls of all its sessions, which
    learns how often it calls; or as one agent for each session, which knows nothing but its profile."""
    tools = sorted({call.tool for calls in learn.values() for call in calls})
    detector = RogueAgentDetector(RogueDetectorConfig())
    others = {it: ToolCallFrequencyAnalyzer(window_seconds=it) for it in WINDOWS if it != 60.0}
    out, shift = collections.defaultdict(list), 0.0

    def record(name, call, at):
        detector.record_action(name, call.tool, call.tool, at)
        for it in others.values():
            it.record(name, at)

    if not each_session:
        detector.register_capability_profile(AGENT, tools)
        # Of what it heard it keeps the last 200 windows; the entropy of an agent that made some thousand calls hardly moves.
        for at, _, _, call in in_turn(learn)[-2500:]:
            record(AGENT, call, at)
        last = max(call.time for calls in learn.values() for call in calls)
        shift = max(0.0, last + 60.0 - min(call.time for calls in judge.values() for call in calls))
    for at, _, session, call in in_turn(judge):
        name = session if each_session else AGENT
        if each_session and session not in out:
            detector.register_capability_profile(session, tools)
        record(name, call, at + shift)
        said = detector.assess(name, at + shift)
        z = {it: analyzer.score(name, at + shift) for it, analyzer in others.items()} | {60.0: said.frequency_score, None: 0.0}
        entropy = detector.entropy_scorer.entropy(name) if each_session else None
        out[session].append((z, entropy, said.entropy_score, said.capability_score, said.quarantine_recommended))
    return out


def rogue_settings():
    """What can be set: length of the window or no frequency at all, bounds of entropy, weight of foreign tools, level."""
    entropies = [(0.3, 3.5), (0.1, 3.5), (0.3, 4.5), (1.0, 3.0), (0.0, 99.0)]
    yield from itertools.product((*WINDOWS, None), entropies, (1, 5, 40), (1, 2, 3))


def composite(row, window, low, high, weight):
    z, entropy, beyond, foreign, _ = row
    if (low, high) != (0.3, 3.5):
        beyond = 0.0
        if entropy is not None and entropy < low:
            beyond = (low - entropy) / low
        elif entropy is not None and entropy > high:
            beyond = (entropy - high) / high
    return z[window] + beyond + foreign * weight


def rogue_alarms(scored, setting):
    """Which sessions would be quarantined (`quarantine_risk_level` is MEDIUM, HIGH, CRITICAL for 1, 2, 3)."""
    window, (low, high), weight, level = setting
    return [any(composite(row, window, low, high, weight) >= level for row in some) for some in scored.values()]


# --- AnomalyDetector: z-scores of metrics, rare transitions, limits of resources ------------------------------------------

METRICS = ("latency_ms", "tokens", "cost_usd", "error")
STRATEGIES = ("statistical", "sequential", "resource")


def anomaly(learn, judge):
    """Per call: largest z-score of its metrics, whether the transition is rare, whether a resource is exceeded, alerted.

    Fed with latency, tokens, cost and failure (0 or 1) of each call, and with its tool. The metrics have one memory (1,000
    values), as the toolkit keeps it; tools are remembered for each session."""
    detector = AnomalyDetector(DetectorConfig())
    resource = detector._get_resource()
    out = collections.defaultdict(list)

    def take(session, call):
        z, exceeded, alerted = 0.0, False, False
        for metric in METRICS:
            value = float(call.failed) if metric == "error" else getattr(call, metric)
            if value is None:
                continue
            alerted |= detector.ingest(metric, float(value), agent_id=session) is not None
            baseline = detector.get_baseline(metric)
            if baseline.sample_count >= 20:
                if baseline.std_dev > 0:
                    z = max(z, abs(value - baseline.mean) / baseline.std_dev)
                exceeded |= resource.check_resource(metric, value, baseline)[0]
        rare = detector.record_tool_call(session, call.tool, call.time) is not None
        return z, rare, exceeded, alerted or rare

    # Of what it heard it keeps 1,000 values; sessions learnt from are other sessions.
    recent = in_turn(learn)[-1100:]
    for _, _, session, call in recent:
        take(f"learnt {session}", call)
    for _, _, session, call in in_turn(judge):
        out[session].append(take(session, call))
    return out


def anomaly_settings():
    """`z_threshold` and `enabled_strategies`."""
    for z in (2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25):
        for used in (STRATEGIES, ("statistical", "sequential"), ("statistical", "resource"), ("statistical",)):
            yield z, used
    yield None, ("sequential",)
    yield None, ("resource",)
    yield None, ("sequential", "resource")


def anomaly_alarms(scored, setting):
    bound, used = setting
    def told(row):
        z, rare, exceeded, _ = row
        return ("statistical" in used and z > bound) or ("sequential" in used and rare) or ("resource" in used and exceeded)
    return [any(map(told, rows)) for rows in scored.values()]


# --- AgentBehaviorMonitor and RingBreachDetector: fixed bounds -----------------------------------------------------------


class Clock:
    """The time of the steps in place of the time of day, which both detectors read by themselves."""

    now_seconds = 0.0
    min = datetime.min

    @classmethod
    def now(cls, _zone=None):
        return datetime.fromtimestamp(cls.now_seconds, timezone.utc)

    @classmethod
    def monotonic(cls):
        return cls.now_seconds


def monitor(judge, burst=100, failures=20):
    """Each session is an agent. Alarm: it is quarantined."""
    behavior_monitor.datetime = Clock
    out = []
    for session, calls in judge.items():
        watch = behavior_monitor.AgentBehaviorMonitor(burst_threshold=burst, consecutive_failure_threshold=failures)
        for call in calls:
            Clock.now_seconds = call.time
            watch.record_tool_call(session, call.tool, success=not call.failed)
        out.append(watch.get_metrics(session).quarantined)
    return out


def monitor_settings():
    yield from itertools.product((10, 20, 30, 40, 100), (2, 3, 4, 5, 20))


def breach(judge, rate=10.0):
    """Each session calls into its own ring. Alarm: the breaker trips."""
    breach_detector.time = Clock
    out = []
    for session, calls in judge.items():
        watch = breach_detector.RingBreachDetector(baseline_rate=rate)
        for call in calls:
            Clock.now_seconds = call.time
            watch.record_call(session, session, ExecutionRing.RING_2_STANDARD, ExecutionRing.RING_2_STANDARD)
        out.append(watch.is_breaker_tripped(session, session))
    return out


def breach_settings():
    yield from (10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)


# --- all of them ------------------------------------------------------------------------------------------------------------

DEFAULTS = {
    "RogueAgentDetector, one agent": (60.0, (0.3, 3.5), 1, 2),
    "RogueAgentDetector, one a session": (60.0, (0.3, 3.5), 1, 2),
    "AnomalyDetector": (2.5, STRATEGIES),
    "AgentBehaviorMonitor": (100, 20),
    "RingBreachDetector": 10.0,
}


def judge_all(learn, judge):
    """`{detector: {setting: [alarm of each session…]}}`."""
    out = {name: {} for name in DEFAULTS}
    for name, each in (("RogueAgentDetector, one agent", False), ("RogueAgentDetector, one a session", True)):
        scored = rogue(learn, judge, each)
        for setting in rogue_settings():
            out[name][setting] = rogue_alarms(scored, setting)
        # What is worked out from the scores is what the detector itself says at its defaults.
        assert out[name][DEFAULTS[name]] == [any(row[-1] for row in rows) for rows in scored.values()], name
    scored = anomaly(learn, judge)
    for setting in anomaly_settings():
        out["AnomalyDetector"][setting] = anomaly_alarms(scored, setting)
    assert out["AnomalyDetector"][DEFAULTS["AnomalyDetector"]] == [any(row[3] for row in rows) for rows in scored.values()]
    for setting in monitor_settings():
        out["AgentBehaviorMonitor"][setting] = monitor(judge, *setting)
    for setting in breach_settings():
        out["RingBreachDetector"][setting] = breach(judge, setting)
    return out


def join(parts):
    """The same of several baselines, one after another."""
    out = {}
    for part in parts:
        for name, settings in part.items():
            for setting, alarms in settings.items():
                out.setdefault(name, {}).setdefault(setting, []).extend(alarms)
    return out


def share(alarms):
    return sum(alarms) / len(alarms)


def simulated(folder, draws=8, most=250):
    ours = collections.defaultdict(list)
    for line in open(os.path.join(folder, "drift.jsonl")):
        row = json.loads(line)
        if row["draw"] < draws and int(row["session_id"][1:]) < most:
            ours[row["fleet"], row["change"]].append((row["warned"], row["slowed"]))
    found = {}
    for fleet, change in sorted(ours):
        parts = []
        for draw in range(draws):
            learn = learnt(folder, fleet, draw)
            judge = sessions(os.path.join(folder, f"{fleet}-{change}-{draw}-judge.jsonl.gz"))
            parts.append(judge_all(learn, dict(list(judge.items())[:most])))
        found[fleet, change] = join(parts)
        print(f"{fleet}, {change}: {len(ours[fleet, change])} sessions", file=sys.stderr)

    print("| sessions | " + " | ".join(["`drift` at 5 %", "at 1 %", *DEFAULTS]) + " |")
    print("|---" * (3 + len(DEFAULTS)) + "|")
    for (fleet, change), rows in ours.items():
        own = [share([row[at] for row in rows]) for at in (0, 1)]
        theirs = [share(found[fleet, change][name][default]) for name, default in DEFAULTS.items()]
        print(f"| {fleet}, {change} | " + " | ".join(f"{it:.3f}" for it in own + theirs) + " |")
    print("\nthe setting that finds most of the change while it alarms on at most 5 % of the sessions of the fleet that did not change")
    for (fleet, change), settings in found.items():
        if change == "Nothing":
            continue
        for name, some in settings.items():
            allowed = [it for it in some if share(found[fleet, "Nothing"][name][it]) <= 0.05]
            if not allowed:
                least = min(some, key=lambda it: share(found[fleet, "Nothing"][name][it]))
                print(f"| {fleet}, {change} | {name} | none: at least {share(found[fleet, 'Nothing'][name][least]):.3f} | |")
                continue
            best = max(allowed, key=lambda it: (share(some[it]), -share(found[fleet, "Nothing"][name][it])))
            print(f"| {fleet}, {change} | {name} | {best} | {share(found[fleet, 'Nothing'][name][best]):.3f} | {share(some[best]):.3f} |")


def recorded(traces, names):
    for name in names or ("taubench_airline", "swebench_gemini3"):
        info = {it["session_id"]: it for it in lines(os.path.join(traces, name, "sessions.jsonl.gz"))}
        fold = {it: int(hashlib.sha256(row["info"]["split_key"].encode()).hexdigest(), 16) % 5 for it, row in info.items()}
        every, parts = sessions(os.path.join(traces, name, "steps.jsonl.gz")), []
        for number in range(5):
            learn = {it: calls for it, calls in every.items() if fold[it] != number}
            parts.append(judge_all(learn, {it: calls for it, calls in every.items() if fold[it] == number}))
        calls = statistics.median(map(len, every.values()))
        print(f"{name}: {len(info)} sessions, {len(every)} of them with calls, {calls:.0f} of these in the median")
        for detector, some in join(parts).items():
            alarmed = sum(some[DEFAULTS[detector]])
            print(f"| {name} | {detector} | {alarmed / len(info):.3f} ({alarmed}/{len(info)}) |")


if __name__ == "__main__":
    if len(sys.argv) >= 3 and sys.argv[1] == "simulated":
        simulated(sys.argv[2], *map(int, sys.argv[3:]))
    elif len(sys.argv) >= 3 and sys.argv[1] == "recorded":
        recorded(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(__doc__)
