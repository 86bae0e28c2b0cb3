# redis-rb: values, pipelines, transactions, scripts, streams, messages, pools of connections and those that are lost.

require 'connection_pool'
require 'redis'
require_relative 'check'

PORT = nodes('PORTS')
def connect(**options)
  Redis.new(port: PORT.call, timeout: 30, **options)
end

r = connect
r.flushall

check 'set', 'OK', r.set('k', 'v')
check 'set nx', false, r.set('k', 'w', nx: true)
every = (0..255).map(&:chr).join.b
r.set('bytes', every)
check 'bytes', every, r.get('bytes').b
check 'mapped_mget', { 'k' => 'v', 'none' => nil }, r.mapped_mget('k', 'none')
check 'incrbyfloat', 2.5, (r.set('f', 1); r.incrbyfloat('f', 1.5))
check 'hgetall', { 'a' => '1', 'b' => '2' }, (r.hset('h', { a: 1, b: 2 }); r.hgetall('h'))
check 'zrange', [['a', 1.0], ['b', 2.5]], (r.zadd('z', [[1, 'a'], [2.5, 'b']]); r.zrange('z', 0, -1, with_scores: true))
check 'zpopmin', ['a', 1.0], r.zpopmin('z')
check 'sort', %w[3 2 1], (r.rpush('l', [3, 1, 2]); r.sort('l', order: 'desc'))
check 'scan_each', 50, (50.times { |i| r.set("scan:#{i}", i) }; r.scan_each(match: 'scan:*', count: 7).to_a.uniq.size)
check 'hscan_each', [%w[a 1], %w[b 2]], r.hscan_each('h').to_a.sort
check 'dump and restore', 'OK', r.restore('k2', 0, r.dump('k'))
check 'geodist', 166, (r.geoadd('g', 13.361389, 38.115556, 'Palermo', 15.087269, 37.502669, 'Catania'); r.geodist('g', 'Palermo', 'Catania', 'km').to_f.round)
refused('an error', Redis::CommandError, /\AWRONGTYPE/) { r.lpush('k', 1) }
check 'info', true, r.info['redis_version'].to_i >= 7
check 'info commandstats', true, r.info(:commandstats).key?('set')

check 'pipelined', ['OK', 2, false], r.pipelined { |p| p.set('p', 1); p.incr('p'); p.sismember('s', 'x') }
check 'multi', ['OK', 2, { 'a' => '1', 'b' => '2' }], r.multi { |m| m.set('m', 1); m.incr('m'); m.hgetall('h') }
lost = r.watch('m') do
  connect.set('m', 9)
  r.multi { |m| m.set('m', 10) }
end
check 'watch of what another changes', [nil, '9'], [lost, r.get('m')]
# What a transaction does to its connection lasts, wherever its keys are.
s = connect
20.times do |i|
  s.multi { |m| m.select(3); m.set("moved:#{i}", i) }
  check "select in a transaction, #{i}", i.to_s, s.get("moved:#{i}")
end
check 'eval', %w[k v], r.eval('return {KEYS[1], ARGV[1]}', keys: ['k'], argv: ['v'])
sha = r.script(:load, 'return redis.call("incr", KEYS[1])')
check 'evalsha at any node', (1..4).to_a, (1..4).map { connect.evalsha(sha, keys: ['counted']) }

check 'xadd', '1-1', r.xadd('stream', { 'f' => 'v' }, id: '1-1')
check 'xgroup', 'OK', r.xgroup(:create, 'stream', 'group', '0')
check 'xreadgroup', { 'stream' => [['1-1', { 'f' => 'v' }]] }, connect.xreadgroup('group', 'me', 'stream', '>')
check 'xpending', 1, r.xpending('stream', 'group')['size']
check 'xack', 1, r.xack('stream', 'group', '1-1')

waiting = Thread.new { connect.blpop('queue', timeout: 30) }
connect.rpush('queue', 'job')
check 'blpop', %w[queue job], waiting.value
check 'a wait in vain', nil, r.brpop('empty', timeout: 0.05)

heard = Queue.new
listener = connect
thread = Thread.new do
  listener.subscribe('news') do |on|
    on.subscribe { |channel, count| heard << [channel, count] }
    on.message { |_, message| heard << message; listener.unsubscribe if message == 'end' }
  end
end
check 'subscribe', ['news', 1], heard.pop
connect.publish('news', 'hello')
connect.publish('news', 'end')
check 'messages', %w[hello end], [heard.pop, heard.pop]
check 'it stops listening', true, !thread.join(30).nil?

pool = ConnectionPool.new(size: 3, timeout: 60) { connect }
(1..10).map { Thread.new { 50.times { pool.with { |c| c.incr('pooled') } } } }.each(&:join)
check 'a pool', '500', r.get('pooled')

# A client that was cut off connects anew.
port = PORT.call
victim = Redis.new(port: port, timeout: 30)
id = victim.call('client', 'id')
Redis.new(port: port).call('client', 'kill', 'id', id)
check 'after it was killed', 'v', victim.get('k')
