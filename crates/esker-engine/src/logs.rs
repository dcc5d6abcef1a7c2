//! Build logs on disk, for whoever keeps the events of a run: one zstd file a build, written while it runs and readable at any moment.
//!
//! Each line is stored with the bytes the builder printed and one newline. A file may consist of
//! several zstd frames (it was closed in between, to have few files open), and the last may be
//! unfinished: of a build that runs, or of an Esker that was killed.
//!
//! Format: RFC 8878.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zstd::stream::raw::{Decoder, Operation};
use zstd::stream::write::Encoder;

/// An open file costs about 1 MiB for its compressor.
const MAX_OPEN: usize = 32;
/// Little memory and little work beside the builds; logs shrink to a tenth all the same.
const LEVEL: i32 = 1;
const MAX_NAME_BYTES: usize = 200;

/// The logs of one run, by the number of the build.
pub struct LogFiles {
    dir: PathBuf,
    names: HashMap<u64, String>,
    open: HashMap<u64, OpenLog>,
    /// Counts appends, to know which file was used last.
    clock: u64,
}

struct OpenLog {
    encoder: Encoder<'static, File>,
    used: u64,
    dirty: bool,
}

impl LogFiles {
    /// `dir` is the run's folder.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, names: HashMap::new(), open: HashMap::new(), clock: 0 }
    }

    /// Appends one line to the log of a build. Returns the file's name when this created it.
    ///
    /// # Errors
    /// The file cannot be created or written.
    pub fn append(&mut self, build: u64, drv: &str, line: &[u8]) -> io::Result<Option<String>> {
        let created = if self.open.contains_key(&build) { None } else { self.open(build, drv)? };
        self.clock += 1;
        let log = self.open.get_mut(&build).expect("opened above");
        log.used = self.clock;
        log.dirty = true;
        log.encoder.write_all(line)?;
        log.encoder.write_all(b"\n")?;
        Ok(created)
    }

    /// Whether [`LogFiles::flush`] has something to do.
    pub fn is_dirty(&self) -> bool {
        self.open.values().any(|log| log.dirty)
    }

    /// Makes everything that was appended visible to readers.
    ///
    /// # Errors
    /// A file cannot be written; so with the next two.
    pub fn flush(&mut self) -> io::Result<()> {
        for log in self.open.values_mut().filter(|log| log.dirty) {
            log.encoder.flush()?;
            log.dirty = false;
        }
        Ok(())
    }

    /// Ends the log of a build, if it has one.
    pub fn close(&mut self, build: u64) -> io::Result<()> {
        self.names.remove(&build);
        self.end_frame(build)
    }

    /// Ends all logs.
    pub fn close_all(&mut self) -> io::Result<()> {
        let builds: Vec<u64> = self.open.keys().copied().collect();
        builds.into_iter().try_for_each(|build| self.close(build))
    }

    fn open(&mut self, build: u64, drv: &str) -> io::Result<Option<String>> {
        if self.open.len() >= MAX_OPEN
            && let Some(idle) = self.open.iter().min_by_key(|(_, log)| log.used).map(|(build, _)| *build)
        {
            self.end_frame(idle)?;
        }
        let (file, created) = match self.names.get(&build) {
            Some(name) => (OpenOptions::new().append(true).open(self.dir.join(name))?, None),
            None => {
                let (file, name) = create(&self.dir, &file_stem(drv))?;
                self.names.insert(build, name.clone());
                (file, Some(name))
            }
        };
        let encoder = Encoder::new(file, LEVEL)?;
        self.open.insert(build, OpenLog { encoder, used: 0, dirty: false });
        Ok(created)
    }

    fn end_frame(&mut self, build: u64) -> io::Result<()> {
        match self.open.remove(&build) {
            Some(log) => log.encoder.finish().map(drop),
            None => Ok(()),
        }
    }
}

/// A new file; a second build of the same derivation in a run gets a number.
fn create(dir: &Path, stem: &str) -> io::Result<(File, String)> {
    let mut name = format!("{stem}.zst");
    let mut number = 2;
    loop {
        match OpenOptions::new().append(true).create_new(true).open(dir.join(&name)) {
            Ok(file) => return Ok((file, name)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                name = format!("{stem}.{number}.zst");
                number += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// `HASH-NAME` of `/nix/store/HASH-NAME.drv`, made safe in case it is something else.
fn file_stem(drv: &str) -> String {
    let name = drv.rsplit('/').next().unwrap_or_default();
    let name = name.strip_suffix(".drv").unwrap_or(name);
    // The characters that Nix allows in store paths.
    let plain = |c: char| if c.is_ascii_alphanumeric() || "+-._?=".contains(c) { c } else { '_' };
    let mut stem: String = name.chars().take(MAX_NAME_BYTES).map(plain).collect();
    if stem.is_empty() || stem.starts_with('.') {
        stem.insert(0, '_');
    }
    stem
}

/// Reads a log, also while it is being written.
///
/// As a [`Read`], zero bytes mean that there is nothing more *now*: for a build that still runs, a
/// later read may yield more.
pub struct LogReader {
    file: File,
    decoder: Decoder<'static>,
    input: Box<[u8]>,
    /// What of `input` was read from the file and not yet decoded.
    pending: std::ops::Range<usize>,
    /// The decoder filled the caller's buffer, so it may hold more.
    holds_more: bool,
}

impl LogReader {
    /// # Errors
    /// The file cannot be opened; if it was pruned meanwhile, with `NotFound`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            decoder: Decoder::new()?,
            input: vec![0; 64 * 1024].into_boxed_slice(),
            pending: 0..0,
            holds_more: false,
        })
    }
}

impl Read for LogReader {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        while !output.is_empty() {
            if self.pending.is_empty() {
                let count = self.file.read(&mut self.input)?;
                self.pending = 0..count;
                // zstd takes repeated calls without input for a mistake.
                if count == 0 && !self.holds_more {
                    break;
                }
            }
            let status = self.decoder.run_on_buffers(&self.input[self.pending.clone()], output)?;
            self.pending.start += status.bytes_read;
            self.holds_more = status.bytes_written == output.len();
            if status.bytes_written > 0 {
                return Ok(status.bytes_written);
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        LogReader::open(path).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn bytes_are_kept_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = LogFiles::new(dir.path().into());
        let lines: [&[u8]; 4] = [b"\0\x1b[31mred\xff\xfe", b"", b"tab\tand\rreturn", "ü".as_bytes()];
        let mut name = None;
        for line in lines {
            name = logs.append(1, "/nix/store/abc-x.drv", line).unwrap().or(name);
        }
        logs.close(1).unwrap();
        assert_eq!(name.as_deref(), Some("abc-x.zst"));
        assert_eq!(read(&dir.path().join("abc-x.zst")), [lines.join(&b'\n'), b"\n".to_vec()].concat());
    }

    #[test]
    fn a_reader_follows_a_log_that_grows() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = LogFiles::new(dir.path().into());
        logs.append(1, "x", b"one").unwrap();
        assert!(logs.is_dirty());
        logs.flush().unwrap();
        assert!(!logs.is_dirty());
        let mut reader = LogReader::open(&dir.path().join("x.zst")).unwrap();
        let more = |reader: &mut LogReader| {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(more(&mut reader), "one\n");
        for _ in 0..100 {
            assert_eq!(more(&mut reader), "", "asking often is no mistake");
        }
        logs.append(1, "x", b"two").unwrap();
        logs.flush().unwrap();
        assert_eq!(more(&mut reader), "two\n");
        logs.close(1).unwrap();
        assert_eq!(more(&mut reader), "");
    }

    #[test]
    fn a_log_cut_off_anywhere_gives_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = LogFiles::new(dir.path().into());
        for number in 0..1000 {
            logs.append(1, "x", format!("line {number}").as_bytes()).unwrap();
            if number % 300 == 0 {
                logs.flush().unwrap();
            }
        }
        logs.close(1).unwrap();
        let path = dir.path().join("x.zst");
        let whole = read(&path);
        let compressed = std::fs::read(&path).unwrap();
        for length in 0..compressed.len() {
            std::fs::write(&path, &compressed[..length]).unwrap();
            assert!(whole.starts_with(&read(&path)), "{length}");
        }
    }

    #[test]
    fn many_builds_at_once_share_few_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = LogFiles::new(dir.path().into());
        for round in 0..3 {
            for build in 0..100 {
                logs.append(build, &format!("drv{build}"), format!("{build} {round}").as_bytes()).unwrap();
                assert!(logs.open.len() <= MAX_OPEN);
            }
        }
        logs.close_all().unwrap();
        assert_eq!(read(&dir.path().join("drv7.zst")), b"7 0\n7 1\n7 2\n");
        assert_eq!(read(&dir.path().join("drv99.zst")), b"99 0\n99 1\n99 2\n");
    }

    #[test]
    fn a_hundred_megabytes_stream_through() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = LogFiles::new(dir.path().into());
        let line = [b'x'; 999];
        for _ in 0..100_000 {
            logs.append(1, "x", &line).unwrap();
        }
        logs.close(1).unwrap();
        let mut reader = LogReader::open(&dir.path().join("x.zst")).unwrap();
        assert_eq!(io::copy(&mut reader, &mut io::sink()).unwrap(), 100_000_000);
    }

    #[test]
    fn names_of_files_cannot_lead_elsewhere() {
        assert_eq!(file_stem("/nix/store/abc-x+y?=1.drv"), "abc-x+y?=1");
        assert_eq!(file_stem("../../etc/.."), "_..");
        assert_eq!(file_stem(""), "_");
        assert_eq!(file_stem("a b\0\n\u{202e}"), "a_b___");
        assert_eq!(file_stem(&"ä".repeat(500)).len(), MAX_NAME_BYTES);
    }
}
