//! What others have sent to a connection.

use crate::command::client::Client;
use crate::command::{blocking, error};
use crate::state::State;
use crate::state::clients::Mail;
use shoal_protocol::resp::Output;

/// Takes the mail out of the inbox and puts pushes behind the replies.
pub(super) fn open(state: &State, client: &mut Client, out: &mut Output) {
    while let Some(mail) = client.shared.receive() {
        match mail {
            Mail::Push(bytes) => out.raw(&bytes),
            Mail::Unblocked(bytes) => {
                out.raw(&bytes);
                client.commands += 1;
                blocking::end(state, client);
            }
            Mail::Unblock { error } => {
                let nothing = client.blocked.as_ref().map(|blocked| blocked.nothing);
                if let Some(nothing) = nothing
                    && blocking::cancel(state, client)
                {
                    if error {
                        out.error(error::UNBLOCKED.text());
                        state.errors.count(error::UNBLOCKED.text());
                    } else {
                        nothing.reply(out);
                    }
                }
            }
            Mail::Close => {
                client.closing = true;
                client.killed = true;
            }
        }
    }
}
