# What Rails applications keep in a cache: ActiveSupport's stores, sessions of Rack.

require 'active_support'
require 'active_support/cache'
require 'active_support/notifications'
require 'active_support/cache/mem_cache_store'
require 'active_support/cache/redis_cache_store'
require 'rack'
require 'rack/mock'
require 'rack/session/dalli'
require 'rack/session/redis'
require_relative 'check'

REDIS = nodes('PORTS')
MEMCACHED = nodes('MEMCACHED_PORTS')
failed = ->(method:, returning:, exception:) { check "no error in #{method}", nil, exception }
redis = lambda do
  ActiveSupport::Cache::RedisCacheStore.new(
    url: "redis://127.0.0.1:#{REDIS.call}/2", namespace: 'app', timeout: 30, error_handler: failed
  )
end
memcached = -> { ActiveSupport::Cache::MemCacheStore.new("127.0.0.1:#{MEMCACHED.call}", namespace: 'app', socket_timeout: 30) }

{ 'redis' => redis, 'memcached' => memcached }.each do |name, store|
  # Two servers of one application.
  a, b = store.call, store.call
  a.clear
  check "#{name} write", { x: 1 }, (a.write('k', { x: 1 }); b.read('k'))
  check "#{name} fetch", [42, 42], [a.fetch('f', expires_in: 60) { 42 }, b.fetch('f') { 43 }]
  check "#{name} exist?", [true, false], [b.exist?('f'), b.exist?('none')]
  a.write_multi({ 'm1' => 1, 'm2' => 2 }, expires_in: 60)
  check "#{name} read_multi", { 'm1' => 1, 'm2' => 2 }, b.read_multi('m1', 'm2', 'm3')
  check "#{name} fetch_multi", { 'm2' => 2, 'm4' => 'm4!' }, b.fetch_multi('m2', 'm4') { |key| "#{key}!" }
  a.write('count', 1, raw: true)
  check "#{name} increment", [2, 7, 5], [a.increment('count'), b.increment('count', 5), a.decrement('count', 2)]
  check "#{name} unless_exist", [true, false], [!!a.write('u', 1, unless_exist: true), !!b.write('u', 2, unless_exist: true)]
  a.delete('u')
  check "#{name} delete", nil, b.read('u')
  a.write('brief', 1, expires_in: 1)
  check "#{name} what expires", nil, await { b.read('brief').nil? || nil } && b.read('brief')
  a.write('big', 'x' * 200_000)
  check "#{name} big", 200_000, b.read('big').size
  check "#{name} a long key", 1, (a.write('k' * 2000, 1); b.read('k' * 2000))
  if name == 'redis'
    30.times { |i| a.write("match:#{i}", i) }
    b.delete_matched('match:*')
    check 'redis delete_matched', {}, a.read_multi(*(0...30).map { |i| "match:#{i}" })
  end
  b.clear
  check "#{name} clear", nil, a.read('k')
end

app = lambda do |env|
  session = env['rack.session']
  session['visits'] = session.fetch('visits', 0) + 1
  [200, {}, [session['visits'].to_s]]
end
{
  'redis' => -> { Rack::Session::Redis.new(app, redis_server: "redis://127.0.0.1:#{REDIS.call}/3/rack:session", expire_after: 60) },
  'memcached' => -> { Rack::Session::Dalli.new(app, memcache_server: "127.0.0.1:#{MEMCACHED.call}", expire_after: 60) }
}.each do |name, sessions|
  servers = [sessions.call, sessions.call].map { |server| Rack::MockRequest.new(server) }
  first = servers[0].get('/')
  cookie = first['Set-Cookie'].split(';')[0]
  visits = (0..3).map { |i| servers[i % 2].get('/', 'HTTP_COOKIE' => cookie).body }
  check "#{name} sessions", %w[1 2 3 4 5], [first.body, *visits]
  check "#{name} a session of somebody else", '1', servers[1].get('/').body
end
