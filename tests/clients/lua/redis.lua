-- lua-redis. Where there are several nodes, two connections talk to two of them.
local redis = require("redis")

local ports = {}
for port in os.getenv("PORTS"):gmatch("%S+") do
    ports[#ports + 1] = tonumber(port)
end
local here, there = redis.connect("127.0.0.1", ports[1]), redis.connect("127.0.0.1", ports[#ports])

local function check(what, expected, got)
    if expected ~= got then
        error(what .. ": expected " .. tostring(expected) .. ", got " .. tostring(got), 2)
    end
end

here:set("lua:n", "1")
check("incr", 2, there:incr("lua:n"))
check("pipeline", 20, #here:pipeline(function(pipe)
    for n = 1, 20 do
        pipe:set("lua:" .. n, n)
    end
end))
check("mget", "20", there:mget("lua:1", "lua:20")[2])
here:transaction({ watch = { "lua:1" }, cas = true, retry = 2 }, function(transaction)
    local seen = transaction:get("lua:1")
    transaction:multi()
    transaction:set("lua:1", seen + 41)
end)
check("compare and set", "42", there:get("lua:1"))
here:hmset("lua:hash", { a = 1, b = 2 })
check("hash", "2", there:hgetall("lua:hash").b)
here:zadd("lua:sorted", 1, "m")
check("sorted set", "m", there:zrange("lua:sorted", 0, -1)[1])
check("script", "42", here:eval("return redis.call('GET', KEYS[1])", 1, "lua:1"))
for message, stop in there:pubsub({ subscribe = { "lua:channel" } }) do
    if message.kind == "subscribe" then
        here:publish("lua:channel", "hello")
    else
        check("message", "hello", message.payload)
        stop()
    end
end
print("ok")
