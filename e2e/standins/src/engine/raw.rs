//! The shim's C interface.

use std::ffi::{c_char, c_int, c_void};

#[repr(C)]
pub struct Engine {
    _opaque: [u8; 0],
}

#[repr(C)]
pub struct Iterator {
    _opaque: [u8; 0],
}

#[repr(C)]
pub struct KeyCalls {
    pub context: *mut c_void,
    pub open: unsafe extern "C" fn(*mut c_void, *const c_char, *mut *mut c_void) -> c_int,
    pub create: unsafe extern "C" fn(*mut c_void, *const c_char, *mut *mut c_void) -> c_int,
    pub remove: unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int,
    pub link: unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char) -> c_int,
    pub apply: unsafe extern "C" fn(*mut c_void, u64, *mut c_char, usize),
    pub release: unsafe extern "C" fn(*mut c_void),
}

#[repr(C)]
pub struct Settings {
    pub write_buffer: u64,
    pub max_open_files: c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Part {
    data: *const c_char,
    length: usize,
}

impl Part {
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            data: bytes.as_ptr().cast(),
            length: bytes.len(),
        }
    }

    /// # Safety
    /// The bytes must live as long as the result is used.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.length == 0 {
            return &[];
        }
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts(self.data.cast(), self.length) }
    }
}

#[repr(C)]
pub struct Operation {
    pub family: u32,
    pub deletes: c_int,
    pub key: Part,
    pub value: Part,
}

type Tell = unsafe extern "C" fn(*mut c_void, Part, Part);

unsafe extern "C" {
    pub fn engine_open(
        path: *const c_char,
        log: *const c_char,
        calls: *const KeyCalls,
        settings: *const Settings,
        error: *mut *mut c_char,
    ) -> *mut Engine;
    pub fn engine_close(engine: *mut Engine);
    pub fn engine_write(
        engine: *mut Engine,
        operations: *const Operation,
        count: usize,
        sync: c_int,
    ) -> *mut c_char;
    pub fn engine_get(
        engine: *mut Engine,
        family: u32,
        key: Part,
        value: *mut *mut c_char,
        length: *mut usize,
        error: *mut *mut c_char,
    ) -> c_int;
    pub fn engine_iterate(engine: *mut Engine, family: u32) -> *mut Iterator;
    pub fn iterator_seek(iterator: *mut Iterator, key: Part);
    pub fn iterator_seek_back(iterator: *mut Iterator, key: Part);
    pub fn iterator_next(iterator: *mut Iterator);
    pub fn iterator_previous(iterator: *mut Iterator);
    pub fn iterator_valid(iterator: *mut Iterator) -> c_int;
    pub fn iterator_error(iterator: *mut Iterator) -> *mut c_char;
    pub fn iterator_key(iterator: *mut Iterator) -> Part;
    pub fn iterator_value(iterator: *mut Iterator) -> Part;
    pub fn iterator_release(iterator: *mut Iterator);
    pub fn engine_blob_indexes(
        engine: *mut Engine,
        context: *mut c_void,
        tell: Tell,
    ) -> *mut c_char;
    pub fn engine_flush(engine: *mut Engine) -> *mut c_char;
    pub fn engine_compact(
        engine: *mut Engine,
        family: u32,
        threads: u32,
        force: c_int,
    ) -> *mut c_char;
    pub fn engine_inflate(kind: c_int, input: Part, output: *mut c_char, length: usize) -> c_int;
    pub fn free(memory: *mut c_void);
}
