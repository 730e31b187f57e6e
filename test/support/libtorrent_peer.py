#!/usr/bin/python3
"""A libtorrent session with one torrent and discovery off. Prints READY host:port once it listens (and, to
seed, has checked its data), DONE once a download is complete, and ends on SIGTERM or when stdin closes."""
import argparse
import os
import signal
import sys
import threading

import libtorrent as lt

parser = argparse.ArgumentParser()
parser.add_argument('mode', choices=['seed', 'download'])
parser.add_argument('--torrent')
parser.add_argument('--magnet')
parser.add_argument('--dir', required=True)
parser.add_argument('--listen', default='127.0.0.1:0')
parser.add_argument('--peer', action='append', default=[])
parser.add_argument('--tracker', action='append', default=[])
parser.add_argument('--encrypted', action='store_true')
options = parser.parse_args()


def say(*words):
    print(*words, flush=True)


def split(address):
    host, port = address.rsplit(':', 1)
    return host.strip('[]'), int(port)


def end_with_stdin():
    sys.stdin.read()
    os._exit(0)


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
threading.Thread(target=end_with_stdin, daemon=True).start()

# Obfuscated connections alone, their payload included.
encryption = {
    'in_enc_policy': lt.enc_policy.pe_forced, 'out_enc_policy': lt.enc_policy.pe_forced,
    'allowed_enc_level': lt.enc_level.pe_rc4,
} if options.encrypted else {}
session = lt.session({
    **encryption,
    'enable_dht': False, 'enable_lsd': False, 'enable_upnp': False, 'enable_natpmp': False,
    'enable_incoming_utp': False, 'enable_outgoing_utp': False,
    'listen_interfaces': options.listen,
    'allow_multiple_connections_per_ip': True,
    'alert_mask': lt.alert.category_t.status_notification | lt.alert.category_t.error_notification,
})
if options.magnet:
    params = lt.parse_magnet_uri(options.magnet)
else:
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(options.torrent)
params.save_path = options.dir
params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
for url in options.tracker:
    params.trackers = params.trackers + [url]

# Announces carry the port, so the torrent is added once we listen.
port = 0
while port == 0:
    session.wait_for_alert(1000)
    for alert in session.pop_alerts():
        if isinstance(alert, lt.listen_succeeded_alert) and 'TCP' in alert.message():
            port = alert.port
        elif isinstance(alert, lt.listen_failed_alert):
            sys.exit(alert.message())
torrent = session.add_torrent(params)


def wait_until(reached):
    while not reached():
        session.wait_for_alert(100)
        for alert in session.pop_alerts():
            if isinstance(alert, (lt.torrent_error_alert, lt.file_error_alert)):
                sys.exit(alert.message())


if options.mode == 'seed':
    wait_until(lambda: torrent.status().is_seeding)
say('READY', options.listen.rsplit(':', 1)[0] + ':' + str(port))
for address in options.peer:
    torrent.connect_peer(split(address))
if options.mode == 'download':
    wait_until(lambda: torrent.status().is_seeding)
    torrent.flush_cache()
    flushed = []
    while not flushed:
        session.wait_for_alert(1000)
        flushed = [a for a in session.pop_alerts() if isinstance(a, lt.cache_flushed_alert)]
    say('DONE')
while True:
    signal.pause()
