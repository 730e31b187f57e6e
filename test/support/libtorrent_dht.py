#!/usr/bin/python3
"""A libtorrent session that is a DHT node and nothing else. Prints READY host:port once it listens, and
takes commands by line: `node host:port`; `announce INFOHASH`, with the port that it listens on; `find
INFOHASH`, which prints PEER host:port for each peer; `nodes`, which prints NODES n. Ends on SIGTERM or
when stdin closes."""
import argparse
import os
import signal
import sys
import threading

import libtorrent as lt

parser = argparse.ArgumentParser()
parser.add_argument('--listen', default='127.0.0.1:0')
options = parser.parse_args()


def say(*words):
    print(*words, flush=True)


def split(address):
    host, port = address.rsplit(':', 1)
    return host, int(port)


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

session = lt.session({
    'enable_dht': True, 'enable_lsd': False, 'enable_upnp': False, 'enable_natpmp': False,
    'dht_bootstrap_nodes': '',
    'dht_restrict_routing_ips': False, 'dht_restrict_search_ips': False,
    'dht_ignore_dark_internet': False, 'dht_prefer_verified_node_ids': False,
    'listen_interfaces': options.listen,
    'alert_mask': lt.alert.category_t.status_notification | lt.alert.category_t.stats_notification
    | lt.alert.category_t.dht_operation_notification,
})


def announce(info_hash):
    params = lt.parse_magnet_uri('magnet:?xt=urn:btih:' + info_hash)
    params.save_path = '/nonexistent'
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    session.add_torrent(params).force_dht_announce()


def read_commands():
    for line in sys.stdin:
        command, *words = line.split()
        if command == 'node':
            session.add_dht_node(split(words[0]))
        elif command == 'announce':
            announce(words[0])
        elif command == 'find':
            session.dht_get_peers(lt.sha1_hash(bytes.fromhex(words[0])))
        elif command == 'nodes':
            session.post_dht_stats()
    os._exit(0)


threading.Thread(target=read_commands, daemon=True).start()
while True:
    session.wait_for_alert(100)
    for alert in session.pop_alerts():
        if isinstance(alert, lt.listen_succeeded_alert) and 'uTP' in alert.message():
            say('READY', f'{options.listen.rsplit(":", 1)[0]}:{alert.port}')
        elif isinstance(alert, lt.dht_get_peers_reply_alert):
            for host, port in alert.peers():
                say('PEER', f'{host}:{port}')
        elif isinstance(alert, lt.dht_stats_alert):
            say('NODES', sum(bucket['num_nodes'] for bucket in alert.routing_table))
