//! A way to a node that can be cut: connections are refused and those that are open end, as when the node is away.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Proxy {
    url: String,
    is_cut: Arc<watch::Sender<bool>>,
}

impl Proxy {
    /// A way to the node at `url`.
    pub(crate) async fn start(url: &str) -> Proxy {
        let node = url.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let is_cut = Arc::new(watch::Sender::new(false));
        let cut = Arc::clone(&is_cut);
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let (node, mut cut) = (node.clone(), cut.subscribe());
                tokio::spawn(async move {
                    let talk = async {
                        let mut node = TcpStream::connect(node).await?;
                        tokio::io::copy_bidirectional(&mut client, &mut node).await
                    };
                    tokio::select! {
                        _ = cut.wait_for(|is_cut| *is_cut) => {}
                        _ = talk => {}
                    }
                });
            }
        });
        Proxy { url, is_cut }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub(crate) fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}
