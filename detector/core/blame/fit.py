"""Fits the weights of blame. Needs numpy; README.md says how it is run.

    fit.py rows   TRACES BLAME_ROWS OUT_FOLDER   writes one file of numbers for each recording
    fit.py model  TRACES OUT_FOLDER              prints the table, writes weights.json
    fit.py check  TRACES OUT_FOLDER              the same table; writes nothing
    fit.py shipped TRACES RANKED.jsonl...        figures of what `martingale blame --ranked` wrote; of no fitting at all
    fit.py agree  TRACES                         how often two groups of people blame the same step of the same execution
"""
import collections, gzip, json, pathlib, subprocess, sys

import numpy as np

HERE = pathlib.Path(__file__).parent
# Where each number of a row (`src/blame/row.rs`) is pulled to, in log-odds for a flag or a doubling, and the way it has to
# push. To blame a step that does twice as much is twice as likely, and one that comes twice as late half as likely: where
# little is known that is as good as anything that was fitted.
HALF = 0.693
PULL = {
    "told": -4, "asked": -2, "opens": -2, "thinks": -1, "concludes": -2, "acts": 0, "size": HALF, "new": 0, "late": -HALF,
    "fails_first": 1.5, "begun": 1.5, "caught": 1.5, "aside": -1,
}
WAYS = {name: 1 if name in ("acts", "size", "new", "fails_first", "begun", "caught") else -1 for name in PULL}
NAMES = list(PULL)
# How hard it pulls: as much as so many sessions.
STRENGTH = 20
ROUNDS = 1000
# Sets that are left out together: `hand` and `magentic` are the same executions, labelled by two groups of people.
FOLD = {"algo": "algo", "hand": "web", "magentic": "web", "tau": "tau", "sentinel": "sentinel", "dojo": "dojo"}
# What all sessions of a set count for together. Those of `sentinel` are many and alike. `dojo` is never fitted on: an attack
# that succeeds is another way to go wrong than a mistake, and there are too many of it.
TOTAL = {"algo": 49, "hand": 26, "magentic": 21, "tau": 21, "sentinel": 49}
RECORDINGS = ("whowhen", "agentrx_magentic", "agentrx_tau_retail", "sentinel", "agentdojo_official")


def lines(path):
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file if line.strip()]


def labels(traces):
    """Set, session and the step that people blame, of every session that has one."""
    for recording in RECORDINGS:
        for it in lines(pathlib.Path(traces) / recording / "sessions.jsonl.gz"):
            # Of the last recording only sessions in which harm was done.
            done = it["info"].get("variant") in (None, "hijacked", "attempted_not_completed")
            if it["label"]["first_bad_step"] is None or not done:
                continue
            of = {"whowhen": "algo" if it["info"].get("subset") == "Algorithm-Generated" else "hand",
                  "agentrx_magentic": "magentic", "agentrx_tau_retail": "tau", "agentdojo_official": "dojo"}.get(recording, recording)
            yield of, it["session_id"], it["label"]["first_bad_step"]


def rows(traces, blame_rows, out):
    for recording in RECORDINGS:
        with open(pathlib.Path(out) / f"{recording}.tsv", "w") as file:
            subprocess.run([blame_rows, pathlib.Path(traces) / recording / "steps.jsonl.gz"], stdout=file, check=True)


def sessions(traces, out):
    """Set, numbers of the steps, their seqs, and the place of the one that is blamed."""
    numbers, seqs = collections.defaultdict(list), collections.defaultdict(list)
    for recording in RECORDINGS:
        with open(pathlib.Path(out) / f"{recording}.tsv") as file:
            assert next(file).rstrip("\n").split("\t")[2:] == NAMES, "rows of other numbers"
            for line in file:
                session, seq, *row = line.rstrip("\n").split("\t")
                numbers[session].append([int(it) / 1024 for it in row])
                seqs[session].append(int(seq))
    return [(of, np.array(numbers[id]), seqs[id], seqs[id].index(bad)) for of, id, bad in labels(traces)]


def fit(data):
    """Which step of a session is blamed, as a choice among its steps (conditional logit), by projected gradient ascent."""
    data = [it for it in data if it[0] in TOTAL]
    size = collections.Counter(of for of, *_ in data)
    weight = np.array([TOTAL[of] / size[of] for of, *_ in data])
    length = np.array([len(x) for _, x, *_ in data])
    begin = np.cumsum(length) - length
    x, blamed = np.vstack([x for _, x, *_ in data]), np.array([x[bad] for _, x, _, bad in data])
    pull, ways = np.array([PULL[it] for it in NAMES], float), np.array([WAYS[it] for it in NAMES])
    w = pull.copy()
    for round_ in range(ROUNDS):
        score = x @ w
        p = np.exp(score - np.repeat(np.maximum.reduceat(score, begin), length))
        p *= np.repeat(weight / np.add.reduceat(p, begin), length)
        gradient = weight @ blamed - p @ x - STRENGTH * (w - pull)
        w += 0.04 * (1 - round_ / ROUNDS) / STRENGTH * gradient
        w[w * ways < 0] = 0
    return np.round(w * 1000).astype(int)


def ranked(x, weights):
    """Places, most suspect first, as `src/blame/weigh.rs` has it."""
    numbers = np.round(x * 1024).astype(int)
    products = numbers * weights
    score = (np.sign(products) * (np.abs(products) // 1024)).sum(1)
    return list(np.argsort(-score, kind="stable"))


def shares(hits):
    return "  ".join(f"{100 * sum(it) / len(it):5.1f} %" for it in zip(*hits))


def table(data):
    for fold in dict.fromkeys(FOLD.values()):
        weights = fit([it for it in data if FOLD[it[0]] != fold])
        print(f"without {fold}:", dict(zip(NAMES, weights.tolist())))
        common = collections.Counter(seqs[bad] for of, _, seqs, bad in data if FOLD[of] != fold and of in TOTAL).most_common(3)
        for of in (it for it in FOLD if FOLD[it] == fold):
            mine = [it for it in data if it[0] == of]
            own = collections.Counter(seqs[bad] for _, _, seqs, bad in mine).most_common(3)
            print(f"  {of}: {len(mine)} sessions           top-1    top-3")
            places = [(ranked(x, weights), bad) for _, x, _, bad in mine]
            print("    left out                ", shares([(it[0] == bad, bad in it[:3]) for it, bad in places]))
            for name, steps in (("its own commonest step  ", own), ("the others' commonest   ", common)):
                steps = [it for it, _ in steps]
                print("   ", name, shares([(seqs[bad] == steps[0], seqs[bad] in steps) for _, _, seqs, bad in mine]))
            chance = [(1 / len(x), min(1, 3 / len(x))) for _, x, *_ in mine]
            print("    any step                ", shares(chance))


def model(traces, out, write):
    data = sessions(traces, out)
    table(data)
    weights = fit(data)
    print("of all:", dict(zip(NAMES, weights.tolist())))
    for of in FOLD:
        mine = [(ranked(x, weights), bad) for it, x, _, bad in data if it == of]
        print(f"  {of}", "seen in the fit" if of in TOTAL else "not seen in it", shares([(it[0] == bad, bad in it[:3]) for it, bad in mine]))
    if write:
        text = json.dumps({"weights": dict(zip(NAMES, weights.tolist()))}, indent=2)
        (HERE / "weights.json").write_text(text + "\n")


def shipped(traces, files):
    said = {}
    for file in files:
        with open(file) as lines_:
            said.update((it["session_id"], it["ranked"]) for it in map(json.loads, lines_))
    hits = collections.defaultdict(list)
    for of, id, bad in labels(traces):
        if id in said:
            hits[of].append((said[id][:1] == [bad], bad in said[id][:3]))
    for of, it in hits.items():
        print(f"{of}: {len(it)} sessions", shares(it))


def agree(traces):
    blamed = {}
    for recording in ("whowhen", "agentrx_magentic"):
        said = collections.defaultdict(list)
        for it in lines(pathlib.Path(traces) / recording / "steps.jsonl.gz"):
            said[it["session_id"]].append((it["kind"], it.get("text"), it.get("output")))
        for of, id, bad in labels(traces):
            if id in said and of != "algo":
                blamed.setdefault(str(said[id]), []).append(bad)
    both = [it for it in blamed.values() if len(it) == 2]
    print(f"the same step in {sum(a == b for a, b in both)} of {len(both)} executions")


match sys.argv[1:]:
    case ["rows", traces, blame_rows, out]:
        rows(traces, blame_rows, out)
    case ["model" | "check" as what, traces, out]:
        model(traces, out, what == "model")
    case ["agree", traces]:
        agree(traces)
    case ["shipped", traces, *files]:
        shipped(traces, files)
    case _:
        sys.exit(__doc__)
