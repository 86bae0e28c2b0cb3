# dalli, which speaks the binary protocol.

require 'connection_pool'
require 'dalli'
require 'securerandom'
require_relative 'check'

# Of several nodes each holds a share of the keys, as dalli has it; to Shoal any of them will do.
SERVERS = ENV.fetch('MEMCACHED_PORTS').split.map { |port| "127.0.0.1:#{port}" }
OPTIONS = { namespace: 'dalli', compress: true, expires_in: 300, socket_timeout: 30 }.freeze
d = Dalli::Client.new(SERVERS, OPTIONS.dup)
d.flush

check 'set and get', { x: [1, 2] }, (d.set('a', { x: [1, 2] }); d.get('a'))
check 'nothing', nil, d.get('none')
check 'big', 500_000, (d.set('big', 'x' * 500_000); d.get('big').size)
noise = SecureRandom.random_bytes(300_000)
check 'noise', true, (d.set('noise', noise); d.get('noise') == noise)
refused('too big', Dalli::ValueOverMaxSize, /too large|over max/i) { d.set('huge', SecureRandom.random_bytes(3_000_000)) }
check 'add', [true, false], [!!d.add('b', 1), !!d.add('b', 2)]
check 'replace', [nil, 2], (d.replace('none', 1); d.replace('b', 2); [d.get('none'), d.get('b')])
check 'counters', [5, 7, 0, nil], [d.incr('n', 1, 60, 5), d.incr('n', 2), d.decr('n', 100), d.incr('none')]
d.set('raw', 'b', 60, raw: true)
d.append('raw', 'c')
d.prepend('raw', 'a')
check 'append and prepend', 'abc', d.get('raw', raw: true)
check 'get_multi', { 'a' => { x: [1, 2] }, 'b' => 2 }, d.get_multi('a', 'b', 'none')
check 'fetch', [42, 42], [d.fetch('f', 60) { 42 }, d.fetch('f', 60) { 43 }]
check 'cas', 43, (d.cas('f') { |v| v + 1 }; d.get('f'))
check 'touch and gat', [true, 43], [!!d.touch('f', 100), d.gat('f', 100)]
check 'delete', [true, false], [!!d.delete('f'), !!d.delete('f')]
d.multi { 100.times { |i| d.set("q#{i}", i) } }
check 'quiet requests', 100, d.get_multi((0...100).map { |i| "q#{i}" }).size
check 'a long key', 1, (d.set('k' * 300, 1); d.get('k' * 300))
check 'a key in another script', 'значение', (d.set('ключ', 'значение'); d.get('ключ'))
check 'versions', SERVERS.size, d.version.values.compact.size
check 'stats', true, d.stats.values.all? { |stats| stats['curr_items'].to_i.positive? }
d.set('brief', 1, 1)
check 'what expires', nil, await { d.get('brief').nil? || nil } && d.get('brief')
pool = ConnectionPool::Wrapper.new(size: 3, timeout: 60) { Dalli::Client.new(SERVERS, OPTIONS.dup) }
(0..4).map { |i| Thread.new { 50.times { |j| pool.set("pool#{i}:#{j}", j) } } }.each(&:join)
check 'a pool', 49, pool.get('pool4:49')
d.close
check 'after it was closed', 2, d.get('b')
