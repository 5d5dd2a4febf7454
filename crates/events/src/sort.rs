//! Sorts rows of bytes, however many, in bounded memory: rows fill an arena, a full arena is sorted and
//! written out as a run, and the runs of a bucket are merged into one stream.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::EventsError;

/// So many runs are merged into one before more are written: each is an open file.
const MOST_RUNS: usize = 128;
const BYTES_PER_WRITER: usize = 64 << 20; // a row group being written
const SMALLEST_BUFFER: usize = 16 << 10;
const LARGEST_BUFFER: usize = 1 << 20;

/// A row of the arena.
#[derive(Clone, Copy)]
struct Entry {
    bucket: u32,
    len: u32,
    start: u64,
}

/// Takes rows in any order; [`Sorter::merge`] gives those of a bucket in order.
pub(crate) struct Sorter {
    folder: PathBuf,
    n_buckets: u32,
    memory: usize,
    arena: Vec<u8>,
    entries: Vec<Entry>,
    runs: Vec<Run>,
    written: usize,
}

/// A sorted run on disk: rows as length and bytes, bucket by bucket.
struct Run {
    path: PathBuf,
    file: File,
    buckets: Vec<Range<u64>>,
}

impl Sorter {
    /// Runs go below `folder`, which exists; `memory` bytes are held, in the arena or in the buffers
    /// of a merge.
    pub(crate) fn new(folder: &Path, n_buckets: u32, memory: usize) -> Self {
        Self {
            folder: folder.to_owned(),
            n_buckets,
            memory,
            arena: Vec::new(),
            entries: Vec::new(),
            runs: Vec::new(),
            written: 0,
        }
    }

    /// Takes what `write` appends as a row of `bucket`.
    pub(crate) fn push(
        &mut self,
        bucket: u32,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), EventsError> {
        let start = self.arena.len();
        write(&mut self.arena);
        let len = u32::try_from(self.arena.len() - start).expect("a row is far below 4 GiB");
        self.entries.push(Entry { bucket, len, start: start as u64 });
        let held = self.arena.len() + self.entries.len() * size_of::<Entry>();
        if held >= self.memory { self.spill() } else { Ok(()) }
    }

    /// Sorts what is held: no row can be added after.
    pub(crate) fn finish(&mut self) -> Result<(), EventsError> {
        if self.runs.is_empty() {
            self.sort();
            return Ok(());
        }
        if !self.entries.is_empty() {
            self.spill()?;
        }
        (self.arena, self.entries) = (Vec::new(), Vec::new());
        Ok(())
    }

    /// How many buckets may be merged and written at the same time.
    pub(crate) fn writers(&self) -> usize {
        (self.memory / BYTES_PER_WRITER).clamp(1, rayon::current_num_threads())
    }

    /// The rows of a bucket in order; `threads` merges run at the same time.
    pub(crate) fn merge(&self, bucket: u32, threads: usize) -> Result<Merge<'_>, EventsError> {
        let shares = threads * self.runs.len().max(1);
        let buffer = (self.memory / 2 / shares).clamp(SMALLEST_BUFFER, LARGEST_BUFFER);
        let from = self.entries.partition_point(|e| e.bucket < bucket);
        let to = self.entries.partition_point(|e| e.bucket <= bucket);
        let held = self.entries[from..to].iter().map(|e| bytes_of(&self.arena, e));
        let mut merge =
            Merge { sources: vec![Source::Held(Box::new(held))], heap: BinaryHeap::new() };
        for run in &self.runs {
            merge.sources.push(Source::Run(run.read(bucket, buffer)));
        }
        merge.fill()?;
        Ok(merge)
    }

    fn sort(&mut self) {
        let arena = &self.arena;
        self.entries.par_sort_unstable_by(|a, b| {
            a.bucket.cmp(&b.bucket).then_with(|| bytes_of(arena, a).cmp(bytes_of(arena, b)))
        });
    }

    fn spill(&mut self) -> Result<(), EventsError> {
        self.sort();
        let mut writer = RunWriter::create(self.next_path(), self.n_buckets)?;
        for entry in &self.entries {
            writer.push(entry.bucket, bytes_of(&self.arena, entry))?;
        }
        self.runs.push(writer.finish()?);
        self.arena.clear();
        self.entries.clear();
        if self.runs.len() >= MOST_RUNS { self.compact() } else { Ok(()) }
    }

    /// Merges all runs into one.
    fn compact(&mut self) -> Result<(), EventsError> {
        let mut writer = RunWriter::create(self.next_path(), self.n_buckets)?;
        let mut row = Vec::new();
        for bucket in 0..self.n_buckets {
            let mut rows = self.merge(bucket, 1)?;
            while rows.next(&mut row)? {
                writer.push(bucket, &row)?;
            }
        }
        let merged = writer.finish()?;
        for run in std::mem::replace(&mut self.runs, vec![merged]) {
            std::fs::remove_file(&run.path).map_err(EventsError::io("remove", &run.path))?;
        }
        Ok(())
    }

    fn next_path(&mut self) -> PathBuf {
        self.written += 1;
        self.folder.join(format!("run-{:05}", self.written))
    }
}

fn bytes_of<'a>(arena: &'a [u8], entry: &Entry) -> &'a [u8] {
    let start = entry.start as usize;
    &arena[start..start + entry.len as usize]
}

/// Writes a run; rows come by bucket.
struct RunWriter {
    path: PathBuf,
    file: BufWriter<File>,
    at: u64,
    buckets: Vec<Range<u64>>,
}

impl RunWriter {
    fn create(path: PathBuf, n_buckets: u32) -> Result<Self, EventsError> {
        let mut options = File::options();
        options.create(true).truncate(true).read(true).write(true);
        let file = options.open(&path).map_err(EventsError::io("create", &path))?;
        let file = BufWriter::with_capacity(LARGEST_BUFFER, file);
        Ok(Self { path, file, at: 0, buckets: vec![0..0; n_buckets as usize] })
    }

    fn push(&mut self, bucket: u32, row: &[u8]) -> Result<(), EventsError> {
        let range = &mut self.buckets[bucket as usize];
        if range.is_empty() {
            *range = self.at..self.at;
        }
        let len = row.len() as u32;
        let written = self.file.write_all(&len.to_le_bytes());
        written
            .and_then(|()| self.file.write_all(row))
            .map_err(EventsError::io("write", &self.path))?;
        self.at += 4 + u64::from(len);
        range.end = self.at;
        Ok(())
    }

    fn finish(self) -> Result<Run, EventsError> {
        let file = self.file.into_inner().map_err(|e| e.into_error());
        let file = file.map_err(EventsError::io("write", &self.path))?;
        Ok(Run { path: self.path, file, buckets: self.buckets })
    }
}

impl Run {
    fn read(&self, bucket: u32, buffer: usize) -> RunReader<'_> {
        let rest = self.buckets[bucket as usize].clone();
        RunReader { run: self, rest, buffer: Vec::new(), at: 0, capacity: buffer }
    }
}

/// Reads one bucket of a run through a buffer of its own, so that many share the file.
pub(crate) struct RunReader<'a> {
    run: &'a Run,
    rest: Range<u64>,
    buffer: Vec<u8>,
    at: usize,
    capacity: usize,
}

impl RunReader<'_> {
    /// Puts the next row into `row`; false at the end.
    fn next(&mut self, row: &mut Vec<u8>) -> Result<bool, EventsError> {
        if self.at == self.buffer.len() && self.rest.is_empty() {
            return Ok(false);
        }
        self.need(4)?;
        let len = self.buffer[self.at..self.at + 4].try_into().expect("four bytes");
        let len = u32::from_le_bytes(len) as usize;
        self.at += 4;
        self.need(len)?;
        row.clear();
        row.extend_from_slice(&self.buffer[self.at..self.at + len]);
        self.at += len;
        Ok(true)
    }

    /// Has `n` bytes behind `at`.
    fn need(&mut self, n: usize) -> Result<(), EventsError> {
        let held = self.buffer.len() - self.at;
        if held >= n {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let left = usize::try_from(self.rest.end - self.rest.start).unwrap_or(usize::MAX);
        let more = self.capacity.max(n - held).min(left);
        self.buffer.resize(held + more, 0);
        let read = self.run.file.read_exact_at(&mut self.buffer[held..], self.rest.start);
        read.map_err(EventsError::io("read", &self.run.path))?;
        self.rest.start += more as u64;
        if self.buffer.len() < n {
            let short = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            return Err(EventsError::io("read", &self.run.path)(short));
        }
        Ok(())
    }
}

/// Rows in the order of their bytes.
pub(crate) trait Rows {
    /// Puts the next row into `row`; false at the end.
    fn next(&mut self, row: &mut Vec<u8>) -> Result<bool, EventsError>;
}

enum Source<'a> {
    Held(Box<dyn Iterator<Item = &'a [u8]> + Send + 'a>),
    Run(RunReader<'a>),
    Other(Box<dyn Rows + Send + 'a>),
}

/// Many sorted sources as one.
#[derive(Default)]
pub(crate) struct Merge<'a> {
    sources: Vec<Source<'a>>,
    heap: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
}

impl<'a> Merge<'a> {
    /// Another source.
    pub(crate) fn add(&mut self, rows: Box<dyn Rows + Send + 'a>) -> Result<(), EventsError> {
        self.sources.push(Source::Other(rows));
        self.pull(self.sources.len() - 1, Vec::new())
    }

    /// Puts the next row into `row`; false at the end.
    pub(crate) fn next(&mut self, row: &mut Vec<u8>) -> Result<bool, EventsError> {
        let Some(Reverse((bytes, idx))) = self.heap.pop() else { return Ok(false) };
        let used = std::mem::replace(row, bytes);
        self.pull(idx, used)?;
        Ok(true)
    }

    fn fill(&mut self) -> Result<(), EventsError> {
        (0..self.sources.len()).try_for_each(|idx| self.pull(idx, Vec::new()))
    }

    /// Takes the next row of a source into the heap; `row` is a buffer to use again.
    fn pull(&mut self, idx: usize, mut row: Vec<u8>) -> Result<(), EventsError> {
        row.clear();
        let more = match &mut self.sources[idx] {
            Source::Held(rows) => match rows.next() {
                Some(bytes) => {
                    row.extend_from_slice(bytes);
                    true
                }
                None => false,
            },
            Source::Run(rows) => rows.next(&mut row)?,
            Source::Other(rows) => rows.next(&mut row)?,
        };
        if more {
            self.heap.push(Reverse((row, idx)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Sorter;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_memory_gives_the_same_order(
            rows in prop::collection::vec((0usize..3, prop::collection::vec(0u8..4, 0..300)), 0..400),
            memory in 200usize..20_000,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::new(dir.path(), 3, memory);
            let mut want = vec![Vec::new(); 3];
            for (bucket, row) in rows {
                sorter.push(bucket as u32, |out| out.extend_from_slice(&row)).unwrap();
                want[bucket].push(row);
            }
            sorter.finish().unwrap();
            for (bucket, mut want) in want.into_iter().enumerate() {
                want.sort();
                let mut merge = sorter.merge(bucket as u32, 2).unwrap();
                let (mut got, mut row) = (Vec::new(), Vec::new());
                while merge.next(&mut row).unwrap() {
                    got.push(row.clone());
                }
                prop_assert_eq!(got, want);
            }
        }
    }
}
