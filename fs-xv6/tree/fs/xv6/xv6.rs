// SPDX-License-Identifier: GPL-2.0

//! The xv6 file system.

#![forbid(unsafe_code)]
