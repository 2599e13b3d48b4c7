//! `l2bench`: the load and the stop-watch of `tools/bench`. Each verb prints one JSON object.
#![allow(clippy::print_stderr, reason = "a command-line tool")]

mod connections;
mod datagrams;
mod packets;
mod rules;
mod sample;

use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Load generator and stop-watch for tools/bench.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Send datagrams, as fast as one thread can or at a given rate.
    Flood {
        /// Receiver.
        #[arg(long)]
        to: SocketAddr,
        /// Payload of each datagram in bytes.
        #[arg(long, default_value_t = 64)]
        bytes: usize,
        /// How long.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        /// Most datagrams a second.
        #[arg(long, default_value_t = f64::INFINITY)]
        rate: f64,
        /// How many flows of IPv4 they belong to, one after the other: more than one with sources that nobody has, of the receiver's
        /// network.
        #[arg(long, default_value_t = 1)]
        flows: u32,
    },
    /// Count the datagrams of a flood until it pauses.
    Sink {
        /// Address to receive at.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Answer every datagram until the sender says that it is done.
    Echo {
        /// Address to answer at.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Time one request at a time.
    Ask {
        /// The echo.
        #[arg(long)]
        to: SocketAddr,
        /// How many requests.
        #[arg(long, default_value_t = 5_000)]
        count: usize,
    },
    /// Take connections, and close each at once, until it is killed.
    Accept {
        /// Address to listen at.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Make connections, one after the other, each until the server closes it.
    Connect {
        /// Server.
        #[arg(long)]
        to: SocketAddr,
        /// How long.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
    /// Listen and close over and over; time until each listener has a connection from another network namespace.
    Reach {
        /// Address to listen at, and to connect to.
        #[arg(long)]
        listen: SocketAddr,
        /// Network namespace of the client (ip-netns(8)).
        #[arg(long)]
        netns: String,
        /// How many times.
        #[arg(long, default_value_t = 100)]
        count: usize,
    },
    /// Count the packets that a program gets, from a file or from a packet socket, until they pause.
    Receive {
        #[command(flatten)]
        end: packets::End,
        /// With a packet socket: a UDP port of which it is to get the packets.
        #[arg(long)]
        port: Option<u16>,
    },
    /// Send the same packet over and over, through a file or a packet socket.
    Transmit {
        #[command(flatten)]
        end: packets::End,
        /// The packet in hexadecimal digits: a frame for a packet socket, else what the file takes.
        #[arg(long)]
        packet: String,
        /// How long.
        #[arg(long, default_value_t = 1.0)]
        seconds: f64,
        /// Most packets a second.
        #[arg(long, default_value_t = f64::INFINITY)]
        rate: f64,
    },
    /// Open and close TCP listeners; time until the relay reports each rule added and deleted.
    Rules {
        /// The relay's API socket.
        #[arg(long)]
        socket: PathBuf,
        /// Address and port to listen at.
        #[arg(long)]
        listen: SocketAddr,
        /// How many times.
        #[arg(long, default_value_t = 300)]
        count: usize,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Flood { to, bytes, seconds, rate, flows } => datagrams::flood(to, bytes, seconds, rate, flows),
        Verb::Sink { listen } => datagrams::sink(listen),
        Verb::Echo { listen } => datagrams::echo(listen),
        Verb::Ask { to, count } => datagrams::ask(to, count),
        Verb::Accept { listen } => connections::accept(listen),
        Verb::Connect { to, seconds } => connections::connect(to, seconds),
        Verb::Reach { listen, netns, count } => connections::reach(listen, &netns, count),
        Verb::Receive { end, port } => packets::receive(&end, port),
        Verb::Transmit { end, packet, seconds, rate } => packets::transmit(&end, &packet, seconds, rate),
        Verb::Rules { socket, listen, count } => rules::measure(&socket, listen, count),
    };
    match result {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
