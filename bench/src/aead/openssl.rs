//! OpenSSL's EVP interface: one context that is given each packet's key, or one context per key.
#![allow(unsafe_code, reason = "the peer is a C library")]

use super::crates::Key;
use super::feed::{AAD, TEXT};
use protocol::suite::Aead;
use std::ffi::{c_char, c_int, c_uchar, c_void};
use std::ptr::{NonNull, null, null_mut};

/// Keys up to which there is a context for each: they take more than a kilooctet apiece.
pub const MOST_CONTEXTS: usize = 1000;

const GET_TAG: c_int = 0x10;
const SET_TAG: c_int = 0x11;

unsafe extern "C" {
    fn EVP_CIPHER_fetch(library: *mut c_void, algorithm: *const c_char, properties: *const c_char) -> *mut c_void;
    fn EVP_CIPHER_free(cipher: *mut c_void);
    fn EVP_CIPHER_CTX_new() -> *mut c_void;
    fn EVP_CIPHER_CTX_free(context: *mut c_void);
    fn EVP_CIPHER_CTX_ctrl(context: *mut c_void, what: c_int, argument: c_int, pointer: *mut c_void) -> c_int;
    fn EVP_EncryptInit_ex2(
        context: *mut c_void,
        cipher: *const c_void,
        key: *const c_uchar,
        iv: *const c_uchar,
        parameters: *const c_void,
    ) -> c_int;
    fn EVP_EncryptUpdate(c: *mut c_void, o: *mut c_uchar, ol: *mut c_int, i: *const c_uchar, il: c_int) -> c_int;
    fn EVP_EncryptFinal_ex(context: *mut c_void, out: *mut c_uchar, length: *mut c_int) -> c_int;
    fn EVP_DecryptInit_ex2(
        context: *mut c_void,
        cipher: *const c_void,
        key: *const c_uchar,
        iv: *const c_uchar,
        parameters: *const c_void,
    ) -> c_int;
    fn EVP_DecryptUpdate(c: *mut c_void, o: *mut c_uchar, ol: *mut c_int, i: *const c_uchar, il: c_int) -> c_int;
    fn EVP_DecryptFinal_ex(context: *mut c_void, out: *mut c_uchar, length: *mut c_int) -> c_int;
}

/// A context of AES-128-GCM, for one direction.
#[derive(Debug)]
pub struct Context(NonNull<c_void>);

impl Context {
    fn new(key: &[u8; 16], seal: bool) -> Option<Self> {
        // SAFETY: null stands for the default library context and properties; the name ends with a zero.
        let cipher = unsafe { EVP_CIPHER_fetch(null_mut(), c"AES-128-GCM".as_ptr(), null()) };
        // SAFETY: no arguments.
        let context = NonNull::new(unsafe { EVP_CIPHER_CTX_new() }).map(Self);
        let ready = match &context {
            None => false,
            Some(_) if cipher.is_null() => false,
            // SAFETY: context and cipher were made above and are not null; a key of this cipher has 16 octets.
            Some(c) if seal => unsafe { EVP_EncryptInit_ex2(c.0.as_ptr(), cipher, key.as_ptr(), null(), null()) == 1 },
            // SAFETY: as above.
            Some(c) => unsafe { EVP_DecryptInit_ex2(c.0.as_ptr(), cipher, key.as_ptr(), null(), null()) == 1 },
        };
        // SAFETY: made above or null; the context counts its own reference.
        unsafe { EVP_CIPHER_free(cipher) };
        context.filter(|_| ready)
    }

    /// Under `key`, or under the one that the context has.
    #[inline]
    fn seal(
        &self,
        key: Option<&[u8; 16]>,
        nonce: &[u8; 12],
        aad: &[u8; AAD],
        text: &mut [u8; TEXT],
    ) -> Option<[u8; 16]> {
        let (c, key) = (self.0.as_ptr(), key.map_or(null(), |k| k.as_ptr()));
        let (mut tag, mut n) = ([0u8; 16], 0);
        let text = text.as_mut_ptr();
        // SAFETY: the context is initialised for sealing; key and nonce have this cipher's lengths; the text is written in
        // place and GCM adds nothing to it, so that the final call writes nothing; the tag has the 16 octets asked for.
        let sealed = unsafe {
            EVP_EncryptInit_ex2(c, null(), key, nonce.as_ptr(), null()) == 1
                && EVP_EncryptUpdate(c, null_mut(), &raw mut n, aad.as_ptr(), AAD as c_int) == 1
                && EVP_EncryptUpdate(c, text, &raw mut n, text, TEXT as c_int) == 1
                && EVP_EncryptFinal_ex(c, text.add(TEXT), &raw mut n) == 1
                && EVP_CIPHER_CTX_ctrl(c, GET_TAG, 16, tag.as_mut_ptr().cast()) == 1
        };
        sealed.then_some(tag)
    }

    #[inline]
    fn open(
        &self,
        key: Option<&[u8; 16]>,
        nonce: &[u8; 12],
        aad: &[u8; AAD],
        text: &mut [u8; TEXT],
        mut tag: [u8; 16],
    ) -> bool {
        let (c, key) = (self.0.as_ptr(), key.map_or(null(), |k| k.as_ptr()));
        let mut n = 0;
        let text = text.as_mut_ptr();
        // SAFETY: as in `seal`, with a context initialised for opening.
        unsafe {
            EVP_DecryptInit_ex2(c, null(), key, nonce.as_ptr(), null()) == 1
                && EVP_CIPHER_CTX_ctrl(c, SET_TAG, 16, tag.as_mut_ptr().cast()) == 1
                && EVP_DecryptUpdate(c, null_mut(), &raw mut n, aad.as_ptr(), AAD as c_int) == 1
                && EVP_DecryptUpdate(c, text, &raw mut n, text, TEXT as c_int) == 1
                && EVP_DecryptFinal_ex(c, text.add(TEXT), &raw mut n) == 1
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by EVP_CIPHER_CTX_new, freed only here.
        unsafe { EVP_CIPHER_CTX_free(self.0.as_ptr()) };
    }
}

/// The two contexts that all keys share.
#[derive(Debug)]
pub struct Shared {
    seal: Context,
    open: Context,
}

impl Shared {
    /// `None` when OpenSSL has no AES-128-GCM.
    #[must_use]
    pub fn new() -> Option<Self> {
        Some(Self { seal: Context::new(&[0; 16], true)?, open: Context::new(&[0; 16], false)? })
    }
}

fn half(key: &[u8; 32]) -> [u8; 16] {
    let [key @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *key;
    key
}

/// A key of which nothing is prepared.
#[derive(Debug)]
pub struct Rekeyed([u8; 16]);

impl Key for Rekeyed {
    const NAME: &'static str = "OpenSSL, rekeyed";
    const AEAD: Aead = Aead::Aes128Gcm;
    type Shared = Shared;

    fn new(key: &[u8; 32], _: &Shared) -> Option<Self> {
        Some(Self(half(key)))
    }

    #[inline]
    fn seal(&self, shared: &Shared, nonce: [u8; 12], aad: [u8; AAD], text: &mut [u8; TEXT]) -> Option<[u8; 16]> {
        shared.seal.seal(Some(&self.0), &nonce, &aad, text)
    }

    #[inline]
    fn open(&self, shared: &Shared, nonce: [u8; 12], aad: [u8; AAD], text: &mut [u8; TEXT], tag: [u8; 16]) -> bool {
        shared.open.open(Some(&self.0), &nonce, &aad, text, tag)
    }
}

/// A key's own contexts.
#[derive(Debug)]
pub struct PerKey {
    seal: Context,
    open: Context,
}

impl Key for PerKey {
    const NAME: &'static str = "OpenSSL, context per key";
    const AEAD: Aead = Aead::Aes128Gcm;
    type Shared = ();
    const FORMS: usize = 2;

    fn new(key: &[u8; 32], (): &()) -> Option<Self> {
        let key = half(key);
        Some(Self { seal: Context::new(&key, true)?, open: Context::new(&key, false)? })
    }

    #[inline]
    fn seal(&self, (): &(), nonce: [u8; 12], aad: [u8; AAD], text: &mut [u8; TEXT]) -> Option<[u8; 16]> {
        self.seal.seal(None, &nonce, &aad, text)
    }

    #[inline]
    fn open(&self, (): &(), nonce: [u8; 12], aad: [u8; AAD], text: &mut [u8; TEXT], tag: [u8; 16]) -> bool {
        self.open.open(None, &nonce, &aad, text, tag)
    }
}
