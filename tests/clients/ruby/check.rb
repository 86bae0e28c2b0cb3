# The few lines a Ruby suite needs: named checks, nodes in turn, a summary, an exit code.

$checks = 0
$failures = []

def check(what, expected, got)
  $checks += 1
  $failures << "#{what}: expected #{expected.inspect[0, 300]}, got #{got.inspect[0, 300]}" if expected != got
end

def refused(what, kind, pattern)
  yield
  check(what, pattern, nil)
rescue kind => e
  check(what, true, pattern.match?(e.message))
end

# Ports of nodes that share one cache, the next one each time.
def nodes(name)
  ports = ENV.fetch(name).split.map(&:to_i)
  turn = -1
  -> { ports[(turn += 1) % ports.size] }
end

# Waits until the block says so, for long where the machine is busy.
def await
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 60
  until (found = yield)
    raise 'it does not come to pass' if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
    sleep 0.01
  end
  found
end

at_exit do
  $failures << $!.full_message(highlight: false)[0, 2000] if $!
  $failures.each { |failure| puts "FAILED #{failure}" }
  puts "#{$failures.size} of #{$checks} checks failed"
  $stdout.flush
  exit!($failures.empty? ? 0 : 1)
end
