// SPDX-License-Identifier: GPL-2.0

//! Errors, as the kernel has them: an error number that is never zero.

use core::fmt;

/// A kernel error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(i32);

/// A [`Result`](core::result::Result) with the kernel's [`Error`].
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

impl Error {
    /// The error of a negative number as C returns it; `EINVAL` for any other number.
    pub fn from_errno(errno: i32) -> Self {
        if (-4095..0).contains(&errno) {
            Self(errno)
        } else {
            code::EINVAL
        }
    }

    /// The negative error number.
    pub fn to_errno(self) -> i32 {
        self.0
    }

    /// The error's name, as `ENOENT`.
    pub fn name(&self) -> Option<&'static str> {
        code::NAMES
            .iter()
            .find(|(error, _)| error == self)
            .map(|(_, name)| *name)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => f.debug_tuple("Error").field(&-self.0).finish(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&std::io::Error::from_raw_os_error(-self.0), f)
    }
}

impl std::error::Error for Error {}

impl From<crate::alloc::AllocError> for Error {
    fn from(_: crate::alloc::AllocError) -> Self {
        code::ENOMEM
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::from_errno(-errno),
            None => code::EIO,
        }
    }
}

impl From<core::num::TryFromIntError> for Error {
    fn from(_: core::num::TryFromIntError) -> Self {
        code::EINVAL
    }
}

impl From<core::str::Utf8Error> for Error {
    fn from(_: core::str::Utf8Error) -> Self {
        code::EINVAL
    }
}

impl From<fmt::Error> for Error {
    fn from(_: fmt::Error) -> Self {
        code::EINVAL
    }
}

impl From<core::convert::Infallible> for Error {
    fn from(never: core::convert::Infallible) -> Self {
        match never {}
    }
}

/// The error codes.
pub mod code {
    use super::Error;

    macro_rules! declare_errors {
        ($($name:ident, $errno:literal, $doc:literal;)*) => {
            $(
                #[doc = $doc]
                pub const $name: Error = Error(-$errno);
            )*

            pub(super) const NAMES: &[(Error, &str)] = &[$(($name, stringify!($name))),*];
        };
    }

    declare_errors! {
        EPERM, 1, "Operation not permitted.";
        ENOENT, 2, "No such file or directory.";
        ESRCH, 3, "No such process.";
        EINTR, 4, "Interrupted system call.";
        EIO, 5, "I/O error.";
        ENXIO, 6, "No such device or address.";
        E2BIG, 7, "Argument list too long.";
        EBADF, 9, "Bad file number.";
        EAGAIN, 11, "Try again.";
        ENOMEM, 12, "Out of memory.";
        EACCES, 13, "Permission denied.";
        EFAULT, 14, "Bad address.";
        EBUSY, 16, "Device or resource busy.";
        EEXIST, 17, "File exists.";
        EXDEV, 18, "Cross-device link.";
        ENODEV, 19, "No such device.";
        ENOTDIR, 20, "Not a directory.";
        EISDIR, 21, "Is a directory.";
        EINVAL, 22, "Invalid argument.";
        ENFILE, 23, "File table overflow.";
        EMFILE, 24, "Too many open files.";
        ENOTTY, 25, "Not a typewriter.";
        ETXTBSY, 26, "Text file busy.";
        EFBIG, 27, "File too large.";
        ENOSPC, 28, "No space left on device.";
        ESPIPE, 29, "Illegal seek.";
        EROFS, 30, "Read-only file system.";
        EMLINK, 31, "Too many links.";
        EPIPE, 32, "Broken pipe.";
        EDOM, 33, "Math argument out of domain of func.";
        ERANGE, 34, "Math result not representable.";
        EDEADLK, 35, "Resource deadlock would occur.";
        ENAMETOOLONG, 36, "File name too long.";
        ENOLCK, 37, "No record locks available.";
        ENOSYS, 38, "Invalid system call number.";
        ENOTEMPTY, 39, "Directory not empty.";
        ELOOP, 40, "Too many symbolic links encountered.";
        ENODATA, 61, "No data available.";
        ETIME, 62, "Timer expired.";
        EPROTO, 71, "Protocol error.";
        EBADMSG, 74, "Not a data message.";
        EOVERFLOW, 75, "Value too large for defined data type.";
        EILSEQ, 84, "Illegal byte sequence.";
        EMSGSIZE, 90, "Message too long.";
        EPROTONOSUPPORT, 93, "Protocol not supported.";
        EOPNOTSUPP, 95, "Operation not supported on transport endpoint.";
        ETIMEDOUT, 110, "Connection timed out.";
        EALREADY, 114, "Operation already in progress.";
        EINPROGRESS, 115, "Operation now in progress.";
        ESTALE, 116, "Stale file handle.";
        EUCLEAN, 117, "Structure needs cleaning.";
        EDQUOT, 122, "Quota exceeded.";
        ENOMEDIUM, 123, "No medium found.";
        ECANCELED, 125, "Operation Canceled.";
    }
}
