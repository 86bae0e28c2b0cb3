//! The Unix socket: a file that all workers listen on.

use crate::config::{Config, id};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;

/// Listens at `path`, which replaces a socket that a node left behind there.
pub fn listen(config: &Config, path: &str) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    let mode = config.int(id::UNIXSOCKETPERM) as u32;
    if mode != 0 {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    let group = config.text(id::UNIXSOCKETGROUP);
    if !group.is_empty() {
        let number = group.parse().ok().or_else(|| group_number(&group));
        chown(path, None, Some(number.ok_or(io::ErrorKind::NotFound)?))?;
    }
    Ok(listener)
}

/// The number of a group of this machine.
fn group_number(name: &str) -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    let mut lines = groups.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| if fields.next()? == name { fields.nth(1)?.parse().ok() } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_numbers() {
        assert_eq!(group_number("root"), Some(0));
        assert_eq!(group_number("no-such-group"), None);
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_a_file_is_not() {
        let dir = std::env::temp_dir().join(format!("shoal-unix-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        let (socket, file) = (dir.join("s"), dir.join("f"));
        let mut config = Config::default();
        config.set("unixsocketperm", "600").expect("a mode");
        for _ in 0..2 {
            listen(&config, &socket.to_string_lossy()).expect("listens");
            let mode = fs::metadata(&socket).expect("is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(&file, "data").expect("writes");
        assert!(listen(&config, &file.to_string_lossy()).is_err());
        assert_eq!(fs::read(&file).expect("still there"), b"data");
        fs::remove_dir_all(&dir).expect("goes");
    }
}
