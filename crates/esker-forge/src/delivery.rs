//! What a forge tells: that something was pushed.

/// A delivery whose signature is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The forge's name for this delivery; a second one of the same name is the same.
    pub id: String,
    /// What kind of event it is, in the forge's word.
    pub event: String,
    /// What it means here.
    pub delivery: Delivery,
}

/// What a delivery means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A branch or tag has a new commit.
    Push(Push),
    /// Nothing to do, and why, in a few words.
    Nothing(&'static str),
}

/// A branch or tag has a new commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// `OWNER/NAME`, as the forge writes it.
    pub repository: String,
    /// Whole: `refs/heads/main`.
    pub reference: String,
    /// The new commit: hexadecimal digits, 40 or 64 of them.
    pub commit: String,
}

/// Whoever knows the headers of a request.
pub trait Headers {
    /// The value of the first header of this name (in lower case), if it is text.
    fn header(&self, name: &str) -> Option<&str>;
}

impl Headers for &[(&str, &str)] {
    fn header(&self, name: &str) -> Option<&str> {
        self.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// Why a delivery was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// A header is missing.
    #[error("the header `{0}` is missing")]
    NoHeader(&'static str),
    /// Whoever sent it does not know the secret.
    #[error("the signature is wrong")]
    Forged,
    /// It is genuine, and not what it should be.
    #[error("the payload cannot be read: {0}")]
    Unreadable(String),
}

/// Longer ids are not of a forge.
const LONGEST_ID: usize = 200;

/// An id as it may be stored.
pub(crate) fn checked_id(id: &str) -> Result<String, DeliveryError> {
    let plain = id.len() <= LONGEST_ID && !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic());
    plain.then(|| id.to_owned()).ok_or_else(|| unreadable("the delivery's id is no plain word"))
}

/// A commit's id, as a forge must write it.
pub(crate) fn checked_commit(commit: &str) -> Result<String, DeliveryError> {
    let hexadecimal = commit.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match hexadecimal && matches!(commit.len(), 40 | 64) {
        true => Ok(commit.to_owned()),
        false => Err(unreadable("the commit's id is none")),
    }
}

/// A branch's or tag's whole name, as git allows it: it becomes an argument and is shown.
pub(crate) fn checked_reference(reference: &str) -> Result<String, DeliveryError> {
    let plain = |c: char| !c.is_control() && !" ~^:?*[\\".contains(c);
    let good = reference.len() <= 1024
        && ["refs/heads/", "refs/tags/"].iter().any(|place| reference.starts_with(place))
        && reference.chars().all(plain)
        && !reference.contains("..")
        && !reference.contains("@{")
        && !reference.ends_with('/');
    good.then(|| reference.to_owned()).ok_or_else(|| unreadable("the reference is no branch or tag"))
}

pub(crate) fn unreadable(why: impl Into<String>) -> DeliveryError {
    DeliveryError::Unreadable(why.into())
}
