//! What the shim asks: whose key a file has, and what it does to bytes.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::raw::KeyCalls;
use crate::store::cipher::FileCipher;
use crate::store::keys::KeyManager;
use crate::{Result, log};

/// The functions over a key manager, which must outlive their use.
pub fn table(keys: &Arc<KeyManager>) -> KeyCalls {
    KeyCalls {
        context: Arc::as_ptr(keys).cast_mut().cast(),
        open,
        create,
        remove,
        link,
        apply,
        release,
    }
}

unsafe extern "C" fn open(
    context: *mut c_void,
    path: *const c_char,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: the shim hands back the context, a path and a place for the cipher. The same holds below.
    unsafe { hand_out(manager(context).cipher(path_of(path)), out) }
}

unsafe extern "C" fn create(
    context: *mut c_void,
    path: *const c_char,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: see `open`.
    unsafe { hand_out(manager(context).create(path_of(path)), out) }
}

unsafe extern "C" fn remove(context: *mut c_void, path: *const c_char) -> c_int {
    // SAFETY: see `open`.
    unsafe { told(manager(context).remove(path_of(path))) }
}

unsafe extern "C" fn link(context: *mut c_void, from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: see `open`.
    unsafe { told(manager(context).link(path_of(from), path_of(to))) }
}

unsafe extern "C" fn apply(cipher: *mut c_void, offset: u64, data: *mut c_char, length: usize) {
    // SAFETY: the cipher was handed out by us, and the bytes belong to the shim.
    let (cipher, data) = unsafe {
        (
            &*cipher.cast::<FileCipher>(),
            std::slice::from_raw_parts_mut(data.cast(), length),
        )
    };
    if let Err(error) = cipher.apply(offset, data) {
        // Going on would write bytes that nobody can read again.
        log(&format!("[FATAL] {error}"));
        std::process::abort();
    }
}

unsafe extern "C" fn release(cipher: *mut c_void) {
    // SAFETY: handed out once by `hand_out`.
    drop(unsafe { Box::from_raw(cipher.cast::<FileCipher>()) });
}

unsafe fn hand_out(found: Result<Option<FileCipher>>, out: *mut *mut c_void) -> c_int {
    match found {
        Ok(cipher) => {
            let cipher = cipher.map_or(std::ptr::null_mut(), |cipher| {
                Box::into_raw(Box::new(cipher)).cast()
            });
            // SAFETY: a place in the shim's frame.
            unsafe { *out = cipher };
            0
        }
        Err(error) => told(Err(error)),
    }
}

fn told(done: Result<()>) -> c_int {
    match done {
        Ok(()) => 0,
        Err(error) => {
            log(&format!("[ERROR] {error}"));
            1
        }
    }
}

unsafe fn manager<'a>(context: *mut c_void) -> &'a KeyManager {
    // SAFETY: the engine holds the manager as long as the shim may call.
    unsafe { &*context.cast::<KeyManager>() }
}

unsafe fn path_of<'a>(path: *const c_char) -> &'a Path {
    // SAFETY: a string of the shim, ended by a zero byte.
    Path::new(OsStr::from_bytes(
        unsafe { CStr::from_ptr(path) }.to_bytes(),
    ))
}
