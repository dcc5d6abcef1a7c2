//! The requests, one method each.
//!
//! Source: `performOp` in `libstore/daemon.cc`; the numbers are `WorkerProto::Op`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::client::{read_report, to_trace};
use super::nar_copy::copy_nar;
use super::wire::{Reader, Writer};
use super::{
    BuildLog, BuildResult, Client, DerivedPath, Options, OutputId, PathInfo, ProtocolError, realisation,
};
use crate::StorePath;

/// How many temporary roots are requested before the answers are read. All requests of a batch,
/// at most 250 bytes each, and all answers, 16 bytes each, must fit into a pipe of 64 KiB: then
/// neither side can wait for the other.
const TEMP_ROOTS_BATCH: usize = 200;

/// How much of a NAR goes into one frame.
const FRAME: usize = 32 << 10;

/// Data of up to this size is sent before the report is read: it fits into the pipe, whatever the daemon says.
const SMALL: u64 = 8 << 10;

/// What to do about outputs that are already valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildMode {
    /// Leave them.
    Normal,
    /// Replace those that are damaged.
    Repair,
    /// Build again and compare. The outputs must be valid before.
    Check,
}

/// Whether an added path needs a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureCheck {
    /// It needs one that the daemon trusts, unless it is content-addressed.
    Required,
    /// It needs none, if the daemon trusts us.
    Waived,
}

/// What building some paths would take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Derivations to build.
    pub will_build: BTreeSet<StorePath>,
    /// Paths a substituter has.
    pub will_substitute: BTreeSet<StorePath>,
    /// Paths nobody has and no derivation makes.
    pub unknown: BTreeSet<StorePath>,
    /// Bytes to download, compressed.
    pub download_size: u64,
    /// Bytes of the downloaded NARs.
    pub nar_size: u64,
}

#[derive(Clone, Copy)]
enum Op {
    EnsurePath = 10,
    AddTempRoot = 11,
    AddIndirectRoot = 12,
    SetOptions = 19,
    QueryPathInfo = 26,
    QueryValidPaths = 31,
    NarFromPath = 38,
    AddToStoreNar = 39,
    QueryMissing = 40,
    QueryDerivationOutputMap = 41,
    RegisterDrvOutput = 42,
    QueryRealisation = 43,
    AddBuildLog = 45,
    BuildPathsWithResults = 46,
}

/// Every method fails with [`ProtocolError::Daemon`] when the daemon refuses, after which the
/// connection can be used, and with the other variants when it cannot.
impl<R: Read + Send, W: Write + Send> Client<R, W> {
    /// Settings for what follows on this connection.
    ///
    /// # Errors
    /// See [`ProtocolError`]; so for all that follow.
    pub fn set_options(&mut self, options: &Options) -> Result<(), ProtocolError> {
        self.ask(Op::SetOptions, |writer| options.write_to(writer), |_| Ok(()))
    }

    /// Which of `paths` are valid. Asks no substituter.
    pub fn query_valid_paths(&mut self, paths: &[StorePath]) -> Result<BTreeSet<StorePath>, ProtocolError> {
        self.ask(
            Op::QueryValidPaths,
            |writer| {
                writer.list(paths, Writer::store_path)?;
                writer.bool(false) // Do not substitute.
            },
            |reader| reader.list(Reader::store_path),
        )
    }

    /// What the store knows of `path`, if it is valid.
    pub fn query_path_info(&mut self, path: &StorePath) -> Result<Option<PathInfo>, ProtocolError> {
        self.ask(
            Op::QueryPathInfo,
            |writer| writer.store_path(path),
            |reader| if reader.bool()? { PathInfo::read_from(reader).map(Some) } else { Ok(None) },
        )
    }

    /// What making `wanted` valid would take. May ask substituters.
    pub fn query_missing(&mut self, wanted: &[DerivedPath]) -> Result<Missing, ProtocolError> {
        self.ask(
            Op::QueryMissing,
            |writer| write_derived_paths(writer, wanted),
            |reader| {
                Ok(Missing {
                    will_build: reader.list(Reader::store_path)?,
                    will_substitute: reader.list(Reader::store_path)?,
                    unknown: reader.list(Reader::store_path)?,
                    download_size: reader.u64()?,
                    nar_size: reader.u64()?,
                })
            },
        )
    }

    /// The outputs a derivation has, each with its path unless that depends on the content and is
    /// not known yet.
    pub fn query_derivation_output_map(
        &mut self,
        drv: &StorePath,
    ) -> Result<BTreeMap<String, Option<StorePath>>, ProtocolError> {
        self.ask(
            Op::QueryDerivationOutputMap,
            |writer| writer.store_path(drv),
            |reader| reader.list(|reader| Ok((reader.string()?, reader.optional_store_path()?))),
        )
    }

    /// Which path an output was realised to, if it was. The path is valid.
    ///
    /// # Errors
    /// [`ProtocolError::Daemon`] when content-addressed derivations are not switched on.
    pub fn query_realisation(&mut self, output: &OutputId) -> Result<Option<StorePath>, ProtocolError> {
        self.ask(
            Op::QueryRealisation,
            |writer| writer.bytes(output.to_text()),
            |reader| Ok(reader.list::<_, Vec<_>>(realisation::read)?.into_iter().next()),
        )
    }

    /// Has Nix know that an output was realised to `path`, which must be valid.
    ///
    /// # Errors
    /// [`ProtocolError::Daemon`] when it knows of another path, and when content-addressed
    /// derivations are not switched on.
    pub fn register_realisation(&mut self, output: &OutputId, path: &StorePath) -> Result<(), ProtocolError> {
        self.ask(
            Op::RegisterDrvOutput,
            |writer| writer.bytes(realisation::print(&output.to_text(), path)),
            |_| Ok(()),
        )
    }

    /// Protects `paths` from garbage collection while this connection is open, valid or not. Those that it
    /// protects already cost nothing.
    pub fn add_temp_roots(&mut self, paths: &[StorePath]) -> Result<(), ProtocolError> {
        let new: Vec<StorePath> =
            paths.iter().filter(|path| !self.temp_roots.contains(*path)).cloned().collect();
        // Also with none: a connection that is of no further use protects nothing.
        self.converse(|client| new.chunks(TEMP_ROOTS_BATCH).try_for_each(|batch| client.add_roots(batch)))
    }

    /// Sends all requests at once: a round trip for each would take most of the time.
    fn add_roots(&mut self, batch: &[StorePath]) -> Result<(), ProtocolError> {
        for path in batch {
            self.writer.u64(Op::AddTempRoot as u64)?;
            self.writer.store_path(path)?;
        }
        self.writer.flush()?;
        let mut refused = None;
        for _ in batch {
            match read_report(&mut self.reader, &mut to_trace) {
                Ok(()) => {
                    self.reader.u64()?;
                }
                // The rest of the answers is on its way and must be read.
                Err(error @ ProtocolError::Daemon { .. }) => refused = refused.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        refused.map_or(Ok(()), Err)?;
        self.temp_roots.extend(batch.iter().cloned());
        Ok(())
    }

    /// Makes `link`, a symlink to a store path that the caller has made, a root until it is removed.
    pub fn add_indirect_root(&mut self, link: &Path) -> Result<(), ProtocolError> {
        self.ask(
            Op::AddIndirectRoot,
            |writer| writer.bytes(link.as_os_str().as_bytes()),
            |reader| reader.u64().map(drop),
        )
    }

    /// Makes `path` valid by substitution, unless it is.
    pub fn ensure_path(
        &mut self,
        path: &StorePath,
        log: &mut dyn FnMut(BuildLog),
    ) -> Result<(), ProtocolError> {
        self.request(
            log,
            |writer| {
                writer.u64(Op::EnsurePath as u64)?;
                writer.store_path(path)
            },
            |reader| reader.u64().map(drop),
        )
    }

    /// Builds or substitutes `wanted`, and says how each ended. A failed build is a result.
    ///
    /// Results come in the daemon's order, each with what was asked for, and may be fewer than
    /// `wanted`: without [`Options::keep_going`], a failure stops the rest, which Nix 2.34 then
    /// leaves out (2.8: [`MiscFailure`](super::BuildStatus::MiscFailure) without a message); and 2.8
    /// answers once for two selections of one derivation.
    ///
    /// # Errors
    /// Nix 2.8 fails the whole request where newer ones fail one build, such as for a derivation
    /// for a system it cannot build.
    pub fn build_paths_with_results(
        &mut self,
        wanted: &[DerivedPath],
        mode: BuildMode,
        log: &mut dyn FnMut(BuildLog),
    ) -> Result<Vec<(DerivedPath, BuildResult)>, ProtocolError> {
        let minor = self.minor;
        self.request(
            log,
            |writer| {
                writer.u64(Op::BuildPathsWithResults as u64)?;
                write_derived_paths(writer, wanted)?;
                writer.u64(match mode {
                    BuildMode::Normal => 0,
                    BuildMode::Repair => 1,
                    BuildMode::Check => 2,
                })
            },
            |reader| {
                reader.list(|reader| {
                    let path = reader.string()?.parse()?;
                    Ok((path, BuildResult::read_from(reader, minor)?))
                })
            },
        )
    }

    /// Writes `path`, which must be valid, as a NAR to `output`, as it comes.
    ///
    /// # Errors
    /// [`ProtocolError::Local`] when `output` fails. After any error but [`ProtocolError::Unusable`]
    /// the connection is lost, also after the daemon's own when `path` is not valid.
    pub fn nar_from_path(&mut self, path: &StorePath, output: &mut dyn Write) -> Result<(), ProtocolError> {
        let outcome =
            self.ask(Op::NarFromPath, |writer| writer.store_path(path), |reader| copy_nar(reader, output));
        self.usable &= outcome.is_ok();
        outcome
    }

    /// Adds `path` to the store: the daemon unpacks `nar` and compares size and hash with `info`.
    ///
    /// # Errors
    /// [`ProtocolError::Local`] when `nar` cannot be read; the connection can then be used.
    pub fn add_to_store_nar(
        &mut self,
        path: &StorePath,
        info: &PathInfo,
        signatures: SignatureCheck,
        nar: &mut dyn Read,
    ) -> Result<(), ProtocolError> {
        let local = self.converse(|client| {
            let writer = &mut client.writer;
            writer.u64(Op::AddToStoreNar as u64)?;
            writer.store_path(path)?;
            info.write_to(writer)?;
            writer.bool(false)?; // Do not repair.
            writer.bool(signatures == SignatureCheck::Waived)?;
            send_frames(&mut client.reader, writer, nar)
        })?;
        local.map_or(Ok(()), |error| Err(ProtocolError::Local(error)))
    }

    /// Has `nix log` find this log of `drv`. Takes the place of an older one.
    ///
    /// # Errors
    /// [`ProtocolError::Daemon`] for a user whom the daemon does not trust.
    pub fn add_build_log(&mut self, drv: &StorePath, log: &[u8]) -> Result<(), ProtocolError> {
        let local = self.converse(|client| {
            let writer = &mut client.writer;
            writer.u64(Op::AddBuildLog as u64)?;
            writer.bytes(drv.base_name())?;
            let local = send_frames(&mut client.reader, writer, &mut &*log)?;
            client.reader.u64()?; // 1
            Ok(local)
        })?;
        local.map_or(Ok(()), |error| Err(ProtocolError::Local(error)))
    }

    /// A request that takes no time worth reporting.
    fn ask<T>(
        &mut self,
        op: Op,
        arguments: impl FnOnce(&mut Writer<W>) -> Result<(), ProtocolError>,
        answer: impl FnOnce(&mut Reader<R>) -> Result<T, ProtocolError>,
    ) -> Result<T, ProtocolError> {
        self.request(
            &mut to_trace,
            |writer| {
                writer.u64(op as u64)?;
                arguments(writer)
            },
            answer,
        )
    }
}

fn write_derived_paths<W: Write>(writer: &mut Writer<W>, paths: &[DerivedPath]) -> Result<(), ProtocolError> {
    writer.list(paths, |writer, path| writer.bytes(path.to_string()))
}

/// Sends `data` in frames, unless it is small while another thread follows the report, so that a talkative
/// daemon cannot block us; an early refusal ends the sending. Returns the error of `data`, if any.
fn send_frames<R: Read + Send, W: Write>(
    reader: &mut Reader<R>,
    writer: &mut Writer<W>,
    data: &mut dyn Read,
) -> Result<Option<std::io::Error>, ProtocolError> {
    let mut small = Vec::new();
    let local = (&mut *data).take(SMALL).read_to_end(&mut small).err();
    if local.is_some() || (small.len() as u64) < SMALL {
        writer.frame(&small)?;
        writer.end_of_frames()?;
        writer.flush()?;
        return match (read_report(reader, &mut to_trace), local) {
            (Err(error), _) if !error.leaves_connection_usable() => Err(error),
            (_, Some(local)) => Ok(Some(local)),
            (report, None) => report.map(|()| None),
        };
    }
    let data = &mut small.chain(data);
    let answered = AtomicBool::new(false);
    thread::scope(|scope| {
        let report = scope.spawn(|| {
            let outcome = read_report(reader, &mut to_trace);
            answered.store(true, Ordering::Relaxed);
            outcome
        });
        let sent = write_frames(writer, data, &answered);
        let report = report.join().expect("following a report does not panic");
        match (report, sent) {
            (Err(error), _) if !error.leaves_connection_usable() => Err(error),
            (_, Ok(Some(local))) => Ok(Some(local)),
            (Err(error), _) => Err(error),
            (Ok(()), sent) => sent,
        }
    })
}

fn write_frames<W: Write>(
    writer: &mut Writer<W>,
    data: &mut dyn Read,
    answered: &AtomicBool,
) -> Result<Option<std::io::Error>, ProtocolError> {
    let mut frame = vec![0; FRAME];
    let mut local = None;
    while !answered.load(Ordering::Relaxed) {
        match data.read(&mut frame) {
            Ok(0) => break,
            Ok(length) => writer.frame(&frame[..length])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                local = Some(error);
                break;
            }
        }
    }
    writer.end_of_frames()?;
    writer.flush()?;
    Ok(local)
}
