//! Clients that do little, nothing, or the wrong thing: what they are told, and what they cannot do to others.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_slow_and_steady_is_not_cut() {
    let times = Times { stall: Duration::from_secs(2), sweep: Duration::from_millis(10), ..Times::default() };
    let server = Running::start(&Setup { times: Some(times), ..Setup::default() }, async |_| endless());
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(16 << 10).expect("a small buffer");
    let mut client = socket.connect(server.address).await.expect("connects");
    client.write_all(b"GET / HTTP/1.1\r\nhost: m\r\n\r\n").await.expect("sent");
    // 400 KB/s: the kernel's megabytes, if it had them, would last for longer than the limit.
    let (mut pace, mut piece, mut came) = (tokio::time::interval(Duration::from_millis(10)), [0; 4096], 0);
    while came < 1_500_000 {
        pace.tick().await;
        came += within(client.read(&mut piece)).await.expect("it goes on");
        assert_eq!(server.ended("stalled"), 0, "after {came} bytes");
    }
}

#[tokio::test]
async fn who_idles_makes_room_for_newcomers_and_who_is_served_does_not() {
    let (gate, held) = gated();
    let held = std::sync::Mutex::new(Some(held));
    let service = move |request: Request<Incoming>| {
        std::future::ready(match request.uri().path() {
            "/held" => held.lock().expect("whole").take().expect("asked once"),
            _ => whole("served"),
        })
    };
    let server = Running::start(&Setup { connections: Some(4), ..Setup::default() }, service);
    let mut busy = server.http1().await;
    let answer = within(busy.send_request(get("/held"))).await.expect("headers");
    let (mut one, mut two, silent) = (server.http1().await, server.http2().await, server.connect().await);
    for answer in [one.send_request(get("/")).await.expect("1.1"), two.send_request(get("http://m.test/")).await.expect("2")] {
        assert_eq!(within(text(answer)).await, "served");
    }
    let mut newcomers = Vec::new();
    for _ in 0..6 {
        let mut client = server.http1().await;
        assert_eq!(text(within(client.send_request(get("/"))).await.expect("an answer")).await, "served");
        newcomers.push(client);
    }
    assert!(server.ended("crowded") >= 6, "{}", server.ended("crowded"));
    gate.send("whole".into()).expect("it still reads");
    drop(gate);
    assert_eq!(within(text(answer)).await, "whole");
    drop((one, two, silent));
}

#[tokio::test]
async fn an_answer_may_be_its_connections_last_on_both_protocols() {
    let server = Running::start(&Setup::default(), async |_| {
        let mut answer = whole("goodbye");
        answer.headers_mut().insert(http::header::CONNECTION, "close".parse().expect("a value"));
        answer
    });
    let (mut one, connection) = http1::handshake(TokioIo::new(server.connect().await)).await.expect("speaks HTTP/1.1");
    let ended = tokio::spawn(connection);
    assert_eq!(text(within(one.send_request(get("/"))).await.expect("1.1")).await, "goodbye");
    within(ended).await.expect("no panic").expect("it was closed in order");

    let (mut two, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(server.connect().await)).await.expect("speaks HTTP/2");
    let ended = tokio::spawn(connection);
    let answer = within(two.send_request(get("http://m.test/"))).await.expect("2");
    assert_eq!(answer.headers().get("connection"), None, "it means nothing there");
    assert_eq!(text(answer).await, "goodbye");
    within(ended).await.expect("no panic").expect("it was closed in order");
}

#[tokio::test]
async fn a_request_without_a_host_or_with_two_is_refused() {
    let server = Running::start(&Setup::default(), async |_| whole("served"));
    for (head, status) in [
        ("GET / HTTP/1.1\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n", "400"),
        ("GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n", "400"),
        ("GET / HTTP/1.0\r\n", "200"),
        ("GET / HTTP/1.1\r\nhost:\r\nconnection: close\r\n", "200"),
    ] {
        let (mut client, mut all) = (server.connect().await, Vec::new());
        client.write_all(format!("{head}\r\n").as_bytes()).await.expect("sent");
        within(client.read_to_end(&mut all)).await.expect("answered and closed");
        let all = String::from_utf8(all).expect("text");
        assert_eq!(all.split(' ').nth(1), Some(status), "{head}{all}");
    }
}

#[tokio::test]
async fn plain_http_where_https_is_spoken_is_told_so() {
    let folder = Files::new();
    let files = folder.self_signed("one.test", "one");
    let trusted = TrustedProxies::new(&["127.0.0.0/8".parse().expect("a network")]);
    for (proxied, header) in [(false, ""), (true, "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n")] {
        let setup = Setup { proxied, tls: Some(files.clone()), trusted: trusted.clone(), ..Setup::default() };
        let server = Running::start(&setup, async |_| whole("never"));
        let (mut client, mut all) = (server.connect().await, Vec::new());
        let long = "x".repeat(20_000); // More than anybody reads before the answer.
        let request = format!("{header}GET /v2/ HTTP/1.1\r\nhost: m\r\nx-long: {long}\r\n\r\n");
        client.write_all(request.as_bytes()).await.expect("sent");
        within(client.read_to_end(&mut all)).await.expect("answered and closed");
        let all = String::from_utf8(all).expect("text");
        assert!(all.starts_with("HTTP/1.1 400 ") && all.contains("https://"), "{all}");
        drop(client);
        within(async {
            while server.ended("plain_http") < 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
