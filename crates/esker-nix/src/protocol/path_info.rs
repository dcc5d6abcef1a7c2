//! What the store knows of one valid path.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use data_encoding::HEXLOWER;

use super::ProtocolError;
use super::wire::{Reader, Writer};
use crate::StorePath;

/// What the store knows of one valid path. Source: `UnkeyedValidPathInfo` in `worker-protocol.cc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathInfo {
    /// The derivation that made it, if known; it need not exist.
    pub deriver: Option<StorePath>,
    /// SHA-256 of the path as a NAR.
    pub nar_hash: [u8; 32],
    /// The paths it refers to, possibly itself.
    pub references: BTreeSet<StorePath>,
    /// When it became valid, in seconds since 1970.
    pub registration_time: u64,
    /// Length of the NAR, in bytes.
    pub nar_size: u64,
    /// Built here, hence trusted without a signature.
    pub ultimate: bool,
    /// Signatures, as `key name:base64`.
    pub signatures: Vec<String>,
    /// For a content-addressed path, how: `fixed:r:sha256:…` and the like.
    pub content_address: Option<String>,
}

impl PathInfo {
    pub(super) fn read_from<R: Read>(reader: &mut Reader<R>) -> Result<Self, ProtocolError> {
        Ok(Self {
            deriver: reader.optional_store_path()?,
            nar_hash: parse_hash(&reader.bytes_up_to(100)?)?,
            references: reader.list(Reader::store_path)?,
            registration_time: reader.u64()?,
            nar_size: reader.u64()?,
            ultimate: reader.bool()?,
            signatures: reader.list(Reader::string)?,
            content_address: Some(reader.string()?).filter(|address| !address.is_empty()),
        })
    }

    pub(super) fn write_to<W: Write>(&self, writer: &mut Writer<W>) -> Result<(), ProtocolError> {
        writer.optional_store_path(self.deriver.as_ref())?;
        writer.bytes(HEXLOWER.encode(&self.nar_hash))?;
        writer.list(&self.references, Writer::store_path)?;
        writer.u64(self.registration_time)?;
        writer.u64(self.nar_size)?;
        writer.bool(self.ultimate)?;
        writer.list(&self.signatures, Writer::bytes)?;
        writer.bytes(self.content_address.as_deref().unwrap_or_default())
    }
}

fn parse_hash(text: &[u8]) -> Result<[u8; 32], ProtocolError> {
    HEXLOWER
        .decode(text)
        .ok()
        .and_then(|hash| hash.try_into().ok())
        .ok_or_else(|| ProtocolError::malformed("a NAR hash that is not SHA-256 in base 16"))
}
