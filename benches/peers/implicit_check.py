#!/usr/bin/env python3
"""iALS and BPR of the `implicit` package on the split of the suite, beside ours.

    pip install implicit numpy scipy
    python benches/peers/implicit_check.py --data DIR --results docs/results/suite.json [--set office]

Reads an Amazon set as the suite does (last item: test; the one before: validation, part of the history
of the test; models learn from what is before both), takes the settings that the suite chose for ours from
its results, and prints recall@10 and NDCG@10 of both with their ratio. iALS solves a user anew from the
whole history, BPR serves the users of training. Exit status 1 when a ratio of recall is off by over 2%.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking

FILES = {
    "office": "amazon_office/Office_Products.inter.json",
    "video_games": "amazon_video_games/Video_Games.inter.json",
    "beauty": "amazon_beauty/user_sequence.txt",
}


def sequences(path):
    """User to items, items as text."""
    if path.suffix == ".txt":
        lines = (line.split() for line in path.read_text().splitlines())
        return {words[0]: words[1:] for words in lines if words}
    return {user: [str(i) for i in items] for user, items in json.loads(path.read_text()).items()}


def figures(lists, truth):
    ranks = [np.flatnonzero(row == item) for row, item in zip(lists, truth)]
    found = [rank[0] for rank in ranks if len(rank)]
    n = len(truth)
    return len(found) / n, sum(1 / np.log2(rank + 2) for rank in found) / n


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--data", type=pathlib.Path, required=True)
    args.add_argument("--results", type=pathlib.Path, default=pathlib.Path("docs/results/suite.json"))
    args.add_argument("--set", default="office", choices=FILES)
    args.add_argument("--seeds", type=int, default=3)
    args = args.parse_args()

    histories = [h for h in sequences(args.data / FILES[args.set]).values() if len(h) >= 3]
    names = sorted({item for history in histories for item in history})
    number = {name: i for i, name in enumerate(names)}
    histories = [[number[item] for item in history] for history in histories]
    shape = (len(histories), len(names))

    def matrix(lists):
        rows = np.repeat(np.arange(len(lists)), [len(set(items)) for items in lists])
        cols = np.concatenate([sorted(set(items)) for items in lists])
        return sp.csr_matrix((np.ones(len(rows), np.float32), (rows, cols)), shape)

    train = matrix([h[:-2] for h in histories])
    known = matrix([h[:-1] for h in histories])
    truth = [h[-1] for h in histories]
    users = np.arange(len(histories))
    rows = json.loads(args.results.read_text())["rows"]
    ours = {row["model"]: row for row in rows if row["view"] == args.set}
    off = False
    for name in ("ials", "bpr"):
        if name not in ours:
            print(f"{name}: not in {args.results}; run `recgpt evaluate --suite --only {args.set}`")
            continue
        chosen = ours[name]["chosen"]
        got = []
        for seed in range(1, args.seeds + 1):
            if name == "ials":
                model = AlternatingLeastSquares(
                    factors=chosen["factors"], regularization=chosen["regularization"],
                    alpha=chosen["alpha"], iterations=chosen["iterations"], use_cg=False,
                    use_gpu=False, random_state=seed, num_threads=1)
            else:
                # one thread: several would race
                model = BayesianPersonalizedRanking(
                    factors=chosen["factors"], learning_rate=chosen["learning_rate"],
                    regularization=chosen["regularization"], iterations=chosen["iterations"],
                    use_gpu=False, random_state=seed, num_threads=1)
            model.fit(train, show_progress=False)
            lists, _ = model.recommend(
                users, known, N=10, filter_already_liked_items=True,
                recalculate_user=name == "ials")
            got.append(figures(lists, truth))
        recall, ndcg = np.mean(got, axis=0)
        mine = ours[name]["metrics"]
        recall_ours, ndcg_ours = mine["recall@10"]["mean"], mine["ndcg@10"]["mean"]
        ratio = recall_ours / recall
        off |= abs(ratio - 1) > 0.02
        print(f"{args.set} {name}: implicit recall@10 {recall:.4f} (by seed {[round(r, 4) for r, _ in got]}) "
              f"ndcg@10 {ndcg:.4f}; ours {recall_ours:.4f} {ndcg_ours:.4f}; ratio {ratio:.3f}")
    sys.exit(1 if off else 0)


if __name__ == "__main__":
    main()
