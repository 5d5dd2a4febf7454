"""The peers' side of the index bench: faiss, hnswlib and usearch over the vectors and queries that our index gets.

    pip install numpy faiss-cpu hnswlib usearch

Reads JSON, one object per line, and answers each with one line. The first names the work:

    {"vectors": file, "queries": file, "truth": file, "n": 200000, "dim": 256, "k": 100, "threads": 2}

vectors [n, dim] and queries [_, dim] are little-endian f32, truth [_, k] little-endian u32. Then, in any order:

    {"do": "build", "engine": E}                       -> {"seconds": build time, "bytes": growth of the resident size}
    {"do": "search", "engine": E, "effort": e}         -> {"seconds": for all queries at once, "recall": of the k best}
    {"do": "single", "engine": E, "effort": e, "n": m} -> {"p50_ms", "p99_ms"} over m queries, one at a time, one thread
    {"do": "insert", "engine": E, "effort": e, "n": m} -> {"p50_ms", "p99_ms"} until a new vector can be found

The score is the dot product. HNSW has 32 links per node and looks at 200 when it builds (100 from 500,000 vectors on);
effort is `ef`. Inverted lists have as many lists as ours; effort is `nprobe`. k-means of faiss: 10 rounds, 64 vectors per list.
"""

import json
import os
import sys
import time

import numpy as np


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Faiss:
    def __init__(self, job, vectors):
        import faiss

        self.faiss, self.k = faiss, job["k"]
        faiss.omp_set_num_threads(job["threads"])
        self.index = self.make(vectors)

    def search(self, queries, effort):
        self.set(int(effort))
        return self.index.search(queries, self.k)[1]

    def one_thread(self):
        self.faiss.omp_set_num_threads(1)

    def threads(self, n):
        self.faiss.omp_set_num_threads(n)

    def add(self, vector, _):
        self.index.add(vector)

    def set(self, effort):
        pass


class FaissFlat(Faiss):
    def make(self, vectors):
        index = self.faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        return index


class FaissHnsw(Faiss):
    def make(self, vectors):
        index = self.faiss.IndexHNSWFlat(vectors.shape[1], 32, self.faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = construction(vectors)
        index.add(vectors)
        return index

    def set(self, effort):
        self.index.hnsw.efSearch = effort


class FaissIvfSq8(Faiss):
    def make(self, vectors):
        dim, lists = vectors.shape[1], int(4 * len(vectors) ** 0.5)
        coarse = self.faiss.IndexFlatIP(dim)
        kind = self.faiss.ScalarQuantizer.QT_8bit
        index = self.faiss.IndexIVFScalarQuantizer(coarse, dim, lists, kind, self.faiss.METRIC_INNER_PRODUCT)
        index.cp.niter, index.cp.max_points_per_centroid = 10, 64
        self.coarse = coarse
        index.train(vectors)
        index.add(vectors)
        return index

    def set(self, effort):
        self.index.nprobe = effort


class Hnswlib:
    def __init__(self, job, vectors):
        import hnswlib

        self.k, self.n_threads = job["k"], job["threads"]
        self.index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        self.index.init_index(len(vectors) + 1000, M=32, ef_construction=construction(vectors))
        self.index.set_num_threads(self.n_threads)
        self.index.add_items(vectors)

    def search(self, queries, effort):
        self.index.set_ef(int(effort))
        return self.index.knn_query(queries, k=self.k, num_threads=self.n_threads)[0]

    def one_thread(self):
        self.n_threads = 1

    def threads(self, n):
        self.n_threads = n

    def add(self, vector, key):
        self.index.add_items(vector, [key])


class Usearch:
    def __init__(self, job, vectors):
        from usearch.index import Index

        self.k, self.n_threads = job["k"], job["threads"]
        self.index = Index(
            ndim=vectors.shape[1], metric="ip", dtype="f16", connectivity=32, expansion_add=construction(vectors)
        )
        self.index.add(np.arange(len(vectors)), vectors, threads=self.n_threads)

    def search(self, queries, effort):
        self.index.expansion_search = int(effort)
        return self.index.search(queries, self.k, threads=self.n_threads).keys.reshape(len(queries), -1)

    def one_thread(self):
        self.n_threads = 1

    def threads(self, n):
        self.n_threads = n

    def add(self, vector, key):
        self.index.add(key, vector[0])


ENGINES = {
    "faiss Flat": FaissFlat,
    "faiss HNSW": FaissHnsw,
    "faiss IVF SQ8": FaissIvfSq8,
    "hnswlib": Hnswlib,
    "usearch f16": Usearch,
}


def construction(vectors):
    return 200 if len(vectors) < 500_000 else 100


def recall(found, truth):
    hits = sum(np.intersect1d(row, right).size for row, right in zip(found.astype(np.int64), truth))
    return hits / truth.size


def percentiles(seconds):
    return {"p50_ms": 1e3 * float(np.percentile(seconds, 50)), "p99_ms": 1e3 * float(np.percentile(seconds, 99))}


def main():
    job = json.loads(sys.stdin.readline())
    vectors = np.fromfile(job["vectors"], "<f4").reshape(-1, job["dim"])
    queries = np.fromfile(job["queries"], "<f4").reshape(-1, job["dim"])
    truth = np.fromfile(job["truth"], "<u4").astype(np.int64).reshape(-1, job["k"])
    print(json.dumps({}), flush=True)
    built = {}
    for line in sys.stdin:
        asked = json.loads(line)
        name = asked["engine"]
        if asked["do"] == "build":
            before, start = resident(), time.perf_counter()
            built[name] = ENGINES[name](job, vectors)
            reply = {"seconds": time.perf_counter() - start, "bytes": max(resident() - before, 0)}
        elif asked["do"] == "search":
            start = time.perf_counter()
            found = built[name].search(queries, asked["effort"])
            reply = {"seconds": time.perf_counter() - start, "recall": recall(found, truth)}
        elif asked["do"] == "single":
            engine, seconds = built[name], []
            engine.one_thread()
            for query in queries[: asked["n"]]:
                start = time.perf_counter()
                engine.search(query[None], asked["effort"])
                seconds.append(time.perf_counter() - start)
            engine.threads(job["threads"])
            reply = percentiles(seconds)
        else:
            engine, seconds = built[name], []
            for row in range(asked["n"]):
                new = 1.5 * queries[row : row + 1]
                start = time.perf_counter()
                engine.add(new, len(vectors) + row)
                seconds.append(time.perf_counter() - start)
            reply = percentiles(seconds)
        print(json.dumps(reply), flush=True)


main()
