use super::*;
use std::cell::RefCell;
use std::rc::Rc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, spawn_local, yield_now};

const SOON: Duration = Duration::from_secs(5);
const ECHO: u8 = 1;
const HOLD: u8 = 2;
const BULK_ECHO: u8 = 200;

fn identity(node: u64) -> Identity {
    Identity { cluster: 5, node, incarnation: 100 + node, secret: b"secret".to_vec(), versions: VERSIONS }
}

/// Runs `test` as a node does: on a thread's own runtime.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async { timeout(Duration::from_secs(60), test).await.unwrap() }))
}

/// A connected pair of links.
async fn pair(limits: Limits) -> (Link, Link) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = async {
        let stream = listener.accept().await.unwrap().0;
        Link::accept(stream, &identity(2), limits, SOON).await.unwrap()
    };
    let me = identity(1);
    let (connected, accepted) = tokio::join!(Link::connect(address, &me, limits, SOON), accepted);
    (connected.unwrap(), accepted)
}

/// Answers what is to be echoed, holds what is to be held back.
fn echo(held: Rc<RefCell<Vec<Frame>>>) -> impl FnMut(&Sender, Frame) {
    move |sender, frame| match frame.kind {
        ECHO | BULK_ECHO => sender.reply(frame.id, &frame.payload),
        HOLD => held.borrow_mut().push(frame),
        kind => sender.refuse(frame.id, &format!("kind {kind} is unknown")),
    }
}

/// A client's sender to an echoing server, with what the server holds, and both tasks.
struct Meeting {
    client: Sender,
    server: Sender,
    held: Rc<RefCell<Vec<Frame>>>,
    client_task: JoinHandle<Arc<LinkError>>,
    server_task: JoinHandle<Arc<LinkError>>,
}

async fn meet(limits: Limits) -> Meeting {
    let (client, server) = pair(limits).await;
    let held = Rc::default();
    Meeting {
        client: client.sender(),
        server: server.sender(),
        client_task: spawn_local(client.run(|_, _| panic!("nobody asks the client"))),
        server_task: spawn_local(server.run(echo(Rc::clone(&held)))),
        held,
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = async {
        while !holds() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, patience).await.unwrap_or_else(|_| panic!("not soon: {what}"));
}

#[test]
fn requests_are_answered_in_any_order() {
    run(async {
        let m = meet(Limits::default()).await;
        assert_eq!(*m.client.peer(), Peer { cluster: 5, node: 2, incarnation: 102, version: 1 });
        assert_eq!(m.server.peer().node, 1);
        let held = m.client.try_request(HOLD, b"later").unwrap();
        assert_eq!(m.client.request(ECHO, b"now").await.unwrap(), "now");
        assert_eq!(m.client.request(ECHO, b"").await.unwrap(), "");
        let error = m.client.request(77, b"?").await.unwrap_err();
        assert!(matches!(&error, CallError::Refused(why) if why == "kind 77 is unknown"), "{error}");
        assert!(error.is_harmless());
        let frame = m.held.borrow_mut().pop().unwrap();
        m.server.reply(frame.id, b"at last");
        assert_eq!(held.await.unwrap(), "at last");
        assert_eq!(m.client.in_flight(), 0);
        // An answer given twice, or to a request nobody made, answers nothing.
        m.server.reply(frame.id, b"again");
        m.server.reply(u64::MAX, b"nobody");
        assert_eq!(m.client.request(ECHO, b"still").await.unwrap(), "still");
    });
}

#[test]
fn many_requests_at_once_and_large_ones() {
    run(async {
        let m = meet(Limits::default()).await;
        let replies: Vec<Reply> =
            (0..5000u32).map(|i| m.client.try_request(ECHO, &i.to_le_bytes()).unwrap()).collect();
        for (i, reply) in (0..5000u32).zip(replies) {
            assert_eq!(reply.await.unwrap(), i.to_le_bytes()[..]);
        }
        let large: Vec<u8> = (0..20_000_000).map(|i: u32| i as u8).collect();
        assert_eq!(m.client.request(BULK_ECHO, &large).await.unwrap(), large);
        let error = m.client.request(ECHO, &large).await.unwrap_err();
        assert!(matches!(error, CallError::TooLarge(_)) && error.is_harmless());
        let error = m.client.request(BULK_ECHO, &vec![0; BULK_LIMIT + 1]).await.unwrap_err();
        assert!(matches!(error, CallError::TooLarge(_)));
        assert_eq!(m.client.request(ECHO, b"alive").await.unwrap(), "alive");
    });
}

#[test]
fn both_sides_may_ask() {
    run(async {
        let (one, other) = pair(Limits::default()).await;
        let senders = [one.sender(), other.sender()];
        spawn_local(one.run(echo(Rc::default())));
        spawn_local(other.run(echo(Rc::default())));
        for i in 0..200u32 {
            for sender in &senders {
                assert_eq!(sender.request(ECHO, &i.to_le_bytes()).await.unwrap(), i.to_le_bytes()[..]);
            }
        }
    });
}

#[test]
fn a_dropped_reply_is_not_awaited_and_its_id_not_used_again() {
    run(async {
        let m = meet(Limits::default()).await;
        drop(m.client.try_request(HOLD, b"one").unwrap());
        let second = m.client.try_request(HOLD, b"two").unwrap();
        until("both came", || m.held.borrow().len() == 2).await;
        let (one, two) = (m.held.borrow()[0].clone(), m.held.borrow()[1].clone());
        assert_ne!(one.id, two.id);
        m.server.reply(one.id, b"for nobody");
        m.server.reply(two.id, b"for the second");
        assert_eq!(second.await.unwrap(), "for the second");
    });
}

/// What left has an unknown outcome when the link is cut, what did not leave is certain not to have.
#[test]
fn a_cut_link_tells_what_left_and_what_did_not() {
    run(async {
        let m = meet(Limits::default()).await;
        let left = m.client.try_request(HOLD, b"left").unwrap();
        until("it came", || m.held.borrow().len() == 1).await;
        // The client's task has no turn between this and the cut.
        let stayed = m.client.try_request(HOLD, b"stayed").unwrap();
        m.client.close();
        let (left, stayed) = (left.await.unwrap_err(), stayed.await.unwrap_err());
        assert!(matches!(left, CallError::Unknown(_)) && !left.is_harmless(), "{left}");
        assert!(matches!(stayed, CallError::NotSent(_)) && stayed.is_harmless(), "{stayed}");
        let after = m.client.request(ECHO, b"after").await.unwrap_err();
        assert!(matches!(after, CallError::NotSent(_)), "{after}");
        assert!(matches!(*m.client_task.await.unwrap(), LinkError::Closed));
        assert!(matches!(*m.server_task.await.unwrap(), LinkError::Ended));
        assert_eq!(m.held.borrow().len(), 1);
    });
}

#[test]
fn a_killed_peer_ends_all_requests_and_a_new_link_serves_again() {
    run(async {
        for _ in 0..3 {
            let m = meet(Limits::default()).await;
            let replies: Vec<Reply> = (0..50).map(|_| m.client.try_request(HOLD, b"x").unwrap()).collect();
            until("some came", || !m.held.borrow().is_empty()).await;
            m.server_task.abort();
            for reply in replies {
                assert!(matches!(reply.await.unwrap_err(), CallError::Unknown(_)));
            }
            assert!(m.client.closed().is_some());
        }
    });
}

/// Nobody reads at the other end: the queue fills to its bound, requests wait, and go on when somebody reads.
#[test]
fn a_slow_reader_makes_requests_wait_and_memory_stays_bounded() {
    run(async {
        let limits = Limits { queue: 256 << 10, ..Limits::default() };
        let (client, server) = pair(limits).await;
        let sender = client.sender();
        spawn_local(client.run(|_, _| {}));
        let payload = vec![7; 10_000];
        let (mut sent, mut full) = (Vec::new(), 0);
        // As long as the kernel's buffers take more.
        while full < 200 {
            match sender.try_request(ECHO, &payload) {
                Ok(reply) => sent.push(reply),
                Err(CallError::Full) => {
                    full += 1;
                    sleep(Duration::from_millis(1)).await;
                }
                Err(error) => panic!("{error}"),
            }
            assert!(sender.backlog() <= limits.queue + 64);
        }
        let waiting = {
            let (sender, payload) = (sender.clone(), payload.clone());
            spawn_local(async move { sender.request(ECHO, &payload).await })
        };
        yield_now().await;
        assert!(!waiting.is_finished());
        spawn_local(server.run(echo(Rc::default())));
        assert_eq!(waiting.await.unwrap().unwrap(), payload);
        for reply in sent {
            assert_eq!(reply.await.unwrap(), payload);
        }
    });
}

/// A client that asks and never reads the answers: the server stops reading its requests.
#[test]
fn answers_nobody_reads_stop_the_requests() {
    run(async {
        let limits = Limits { queue: 256 << 10, ..Limits::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            introduce(&mut stream, &identity(1)).await.unwrap();
            stream
        };
        let accept = async {
            let stream = listener.accept().await.unwrap().0;
            Link::accept(stream, &identity(2), limits, SOON).await.unwrap()
        };
        let (mut client, server) = tokio::join!(connect, accept);
        let sender = server.sender();
        spawn_local(server.run(|sender, frame| sender.reply(frame.id, &[1; 50_000])));
        let mut request = Vec::new();
        frame::append(&mut request, ECHO, 1, |_| {}).unwrap();
        let flood: Vec<u8> = request.iter().copied().cycle().take(request.len() * 20_000).collect();
        let mut most = 0;
        let write = async {
            let _ = timeout(Duration::from_millis(500), client.write_all(&flood)).await;
        };
        let watch = async {
            for _ in 0..500 {
                sleep(Duration::from_millis(1)).await;
                most = most.max(sender.backlog());
            }
        };
        tokio::join!(write, watch);
        // One read's worth of requests beyond the bound: 64 KiB of them, each answered by 50,000 bytes.
        assert!(most > limits.queue && most <= limits.queue + (READ / request.len() + 1) * 50_100, "{most}");
        let mut all = vec![0; 4 << 20];
        client.read_exact(&mut all).await.unwrap();
    });
}

#[test]
fn the_number_of_requests_in_flight_is_bounded() {
    run(async {
        let m = meet(Limits { in_flight: 3, ..Limits::default() }).await;
        let mut held: Vec<Reply> = (0..3).map(|_| m.client.try_request(HOLD, b"x").unwrap()).collect();
        assert!(matches!(m.client.try_request(ECHO, b"x"), Err(CallError::Full)));
        let waiting = {
            let sender = m.client.clone();
            spawn_local(async move { sender.request(ECHO, b"my turn").await })
        };
        sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        held.pop();
        assert_eq!(waiting.await.unwrap().unwrap(), "my turn");
    });
}

/// A stopped process still has a kernel that acknowledges what it is sent.
#[test]
fn a_peer_that_stands_still_ends_the_link() {
    run(async {
        let limits = Limits {
            ping: Duration::from_millis(20),
            silence: Duration::from_millis(100),
            ..Limits::default()
        };
        let (client, _stands_still) = pair(limits).await;
        let sender = client.sender();
        let task = spawn_local(client.run(|_, _| {}));
        let error = sender.request(ECHO, b"x").await.unwrap_err();
        assert!(matches!(error, CallError::Unknown(_)), "{error}");
        assert!(matches!(*task.await.unwrap(), LinkError::Silent));
    });
    run(async {
        let limits = Limits {
            ping: Duration::from_millis(20),
            silence: Duration::from_millis(400),
            ..Limits::default()
        };
        let m = meet(limits).await;
        sleep(Duration::from_millis(1200)).await;
        assert_eq!(m.client.request(ECHO, b"idle, not dead").await.unwrap(), "idle, not dead");
    });
}

#[test]
fn a_frame_too_large_ends_the_link() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            introduce(&mut stream, &identity(1)).await.unwrap();
            stream.write_all(&[0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
            stream
        };
        let accept = async {
            let stream = listener.accept().await.unwrap().0;
            Link::accept(stream, &identity(2), Limits::default(), SOON).await.unwrap().run(|_, _| {}).await
        };
        let (_client, error) = tokio::join!(connect, accept);
        assert!(matches!(*error, LinkError::TooLarge(_)), "{error}");
    });
}

/// What the connecting and the listening side are told.
async fn strangers(one: Identity, other: Identity) -> (LinkError, LinkError) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accept = async {
        let stream = listener.accept().await.unwrap().0;
        Link::accept(stream, &other, Limits::default(), SOON).await.err()
    };
    let (connected, accepted) = tokio::join!(Link::connect(address, &one, Limits::default(), SOON), accept);
    (connected.err().unwrap(), accepted.unwrap())
}

#[test]
fn strangers_are_told_why_on_both_sides() {
    run(async {
        let with = |change: fn(&mut Identity)| {
            let mut identity = identity(2);
            change(&mut identity);
            identity
        };
        let (one, other) = strangers(identity(1), with(|i| i.secret = b"Secret".to_vec())).await;
        assert!(
            matches!(one, LinkError::WrongSecret) && matches!(other, LinkError::WrongSecret),
            "{one}; {other}"
        );
        let (one, other) = strangers(identity(1), with(|i| i.secret.clear())).await;
        assert!(
            matches!(one, LinkError::WrongSecret) && matches!(other, LinkError::WrongSecret),
            "{one}; {other}"
        );
        let (one, other) = strangers(identity(1), with(|i| i.cluster = 6)).await;
        assert!(matches!(one, LinkError::OtherCluster { ours: 5, theirs: 6 }), "{one}");
        assert!(matches!(other, LinkError::OtherCluster { ours: 6, theirs: 5 }), "{other}");
        let (one, other) = strangers(identity(1), identity(1)).await;
        assert!(matches!(one, LinkError::Itself) && matches!(other, LinkError::Itself), "{one}; {other}");
        let (one, other) = strangers(identity(1), with(|i| i.versions = (7, 9))).await;
        assert!(matches!(one, LinkError::Version { ours: VERSIONS, theirs: (7, 9) }), "{one}");
        assert!(matches!(other, LinkError::Version { ours: (7, 9), theirs: VERSIONS }), "{other}");
    });
}

#[test]
fn no_secret_on_both_sides_is_accepted() {
    run(async {
        let open = |node| Identity { secret: Vec::new(), cluster: 0, ..identity(node) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (me, other) = (open(1), open(2));
        let accept = async {
            let stream = listener.accept().await.unwrap().0;
            Link::accept(stream, &other, Limits::default(), SOON).await
        };
        let address = listener.local_addr().unwrap();
        let (one, two) = tokio::join!(Link::connect(address, &me, Limits::default(), SOON), accept);
        assert!(one.is_ok() && two.is_ok());
    });
}

/// Each stage of the handshake against a peer that says garbage, nothing, or goes away.
#[test]
fn garbage_stalls_and_vanishing_end_within_the_limit() {
    run(async {
        let limit = Duration::from_millis(150);
        let me = identity(1);
        let hello = handshake::hello(&identity(2), &[1; 32]);
        let said: [&[u8]; 6] =
            [b"", b"*1\r\n$4\r\nPING\r\n", b"-ERR unknown command\r\n", &hello[..8], &hello[..60], &hello];
        for said in said {
            for vanish in [false, true] {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                // As the listening side.
                let connect = async {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    stream.write_all(said).await.unwrap();
                    (!vanish).then_some(stream)
                };
                let accept = async {
                    let stream = listener.accept().await.unwrap().0;
                    let begun = Instant::now();
                    (
                        Link::accept(stream, &me, Limits::default(), limit).await.err().unwrap(),
                        begun.elapsed(),
                    )
                };
                let (_kept, (error, took)) = tokio::join!(connect, accept);
                assert!(took < limit * 4, "{took:?}");
                expect_end(&error, said, vanish);
                // As the connecting side.
                let accept = async {
                    let mut stream = listener.accept().await.unwrap().0;
                    stream.write_all(said).await.unwrap();
                    let mut hello = [0; HELLO];
                    stream.read_exact(&mut hello).await.unwrap();
                    (!vanish).then_some(stream)
                };
                let connect = async {
                    let begun = Instant::now();
                    let error = Link::connect(address, &me, Limits::default(), limit).await.err().unwrap();
                    (error, begun.elapsed())
                };
                let (_kept, (error, took)) = tokio::join!(accept, connect);
                assert!(took < limit * 4, "{took:?}");
                expect_end(&error, said, vanish);
            }
        }
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = nobody.local_addr().unwrap();
        drop(nobody);
        assert!(matches!(
            Link::connect(address, &me, Limits::default(), limit).await.err().unwrap(),
            LinkError::Io(_)
        ));
    });
}

fn expect_end(error: &LinkError, said: &[u8], vanish: bool) {
    let understood = said.len() < MAGIC.len() || said.starts_with(&MAGIC);
    match error {
        LinkError::NotShoal => assert!(!understood, "{said:?}"),
        LinkError::Ended => assert!(understood && vanish, "{said:?}"),
        LinkError::Timeout => assert!(understood && !vanish, "{said:?}"),
        error => panic!("{error} after {said:?}"),
    }
}

/// Not a test: `cargo test --profile dist --lib link_speed -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn link_speed() {
    let (address, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            address.send(listener.local_addr().unwrap()).unwrap();
            let stream = listener.accept().await.unwrap().0;
            let link = Link::accept(stream, &identity(2), Limits::default(), SOON).await.unwrap();
            link.run(echo(Rc::default())).await
        })
    });
    let address = told.recv().unwrap();
    run(async {
        let link = Link::connect(address, &identity(1), Limits::default(), SOON).await.unwrap();
        let sender = link.sender();
        spawn_local(link.run(|_, _| {}));
        for (tasks, each) in [(1u32, 20_000), (50, 4_000), (400, 1_000)] {
            let begun = Instant::now();
            let all: Vec<_> = (0..tasks)
                .map(|_| {
                    let sender = sender.clone();
                    spawn_local(async move {
                        for _ in 0..each {
                            assert_eq!(sender.request(ECHO, &[1; 100]).await.unwrap().len(), 100);
                        }
                    })
                })
                .collect();
            for task in all {
                task.await.unwrap();
            }
            let requests = f64::from(tasks * each);
            let seconds = begun.elapsed().as_secs_f64();
            println!(
                "{tasks} at once: {:.0} requests/s, {:.2} us each",
                requests / seconds,
                seconds * 1e6 / requests
            );
        }
    });
}
