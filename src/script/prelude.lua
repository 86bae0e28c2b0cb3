-- What every script sees: the globals that are allowed, all of them read-only.
--
-- A protected table is shown through an empty one (a "front") that finds everything in it and refuses what would change it. The
-- builtins that look at tables directly are replaced by ones that know fronts. Run once per virtual machine, with the error
-- handler of runs as its argument; answers the globals scripts get and the function that runs them.
local handler = ...
local error, type, tostring, rawequal = error, type, tostring, rawequal
local real = _G
local getmetatable, setmetatable, pairs = getmetatable, setmetatable, pairs
local READONLY = "Attempt to modify a readonly table"

local allowed = {}
for name in ([[ARGV KEYS _G _VERSION assert bit cjson cmsgpack collectgarbage coroutine error gcinfo getmetatable
  ipairs load loadstring math next os pairs pcall rawequal rawget rawset redis select server setmetatable string struct
  table tonumber tostring type unpack xpcall]]):gmatch("%S+") do
  allowed[name] = true
end
for name in pairs(real) do
  if not allowed[name] then real[name] = nil end
end
real.os = { clock = os.clock }

-- The tables behind the fronts.
local behind = {}

local function refuse()
  error(READONLY, 2)
end

local function protect(t)
  local front = setmetatable({}, { __index = t, __newindex = refuse })
  behind[front] = t
  return front
end

do
  local next, pairs, rawget, rawset = next, pairs, rawget, rawset
  local globals_meta

  function real.next(t, key) return next(behind[t] or t, key) end
  function real.pairs(t)
    if t == nil then return pairs(t) end
    return pairs(behind[t] or t)
  end
  function real.rawget(t, key) return rawget(behind[t] or t, key) end
  function real.rawset(t, key, value)
    if behind[t] then error(READONLY, 0) end
    return rawset(t, key, value)
  end
  function real.setmetatable(t, meta)
    if t ~= nil and behind[t] then error(READONLY, 0) end
    return setmetatable(t, meta)
  end
  local strings = protect(getmetatable(""))
  function real.getmetatable(object)
    if object == nil then return getmetatable(object) end
    if behind[object] then
      if behind[object] == real then return globals_meta end
      return nil
    end
    if type(object) == "string" then return strings end
    return getmetatable(object)
  end

  -- A table raised as an error is caught as its message, as it has always been.
  local pcall = pcall
  local function caught(ok, err, ...)
    if ok then return true, err, ... end
    if type(err) == "table" then
      local message = rawget(err, "err")
      if type(message) == "string" or type(message) == "number" then return false, message end
    end
    return false, err
  end
  function real.pcall(...) return caught(pcall(...)) end

  -- Compiled code could do anything to the machine; only text is loaded.
  local loadstring = loadstring
  function real.loadstring(text, name)
    if type(text) == "string" and text:byte(1) == 27 then
      return nil, "unexpected symbol near 'char(27)'"
    end
    return loadstring(text, name)
  end
  local load_text = real.loadstring
  function real.load(reader, name)
    local pieces = {}
    while true do
      local piece = reader()
      if piece == nil or piece == "" then break end
      if type(piece) ~= "string" then error("reader function must return a string", 0) end
      pieces[#pieces + 1] = piece
    end
    return load_text(table.concat(pieces), name or "=(load)")
  end

  globals_meta = protect({ __index = function() end })
end

for _, name in ipairs { "string", "table", "math", "os", "coroutine", "bit", "cjson", "cmsgpack", "struct", "redis" } do
  real[name] = protect(real[name])
end
real.server = real.redis

setmetatable(real, {
  __index = function(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
})
local front = protect(real)
real._G = front

-- A library being loaded finds only what registers functions.
local library_api = setmetatable({}, {
  __index = function(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
})
local loading = setmetatable({ redis = protect(library_api) }, getmetatable(library_api))
loading.server = loading.redis
for name, value in pairs(behind[real.redis]) do
  if type(value) ~= "function" or name == "register_function" or name == "log" then library_api[name] = value end
end
behind[real.redis].register_function = nil
local front_meta = getmetatable(front)
local function load_only(on)
  front_meta.__index = on and loading or real
end

local xpcall = xpcall
local function run(f)
  return xpcall(f, handler)
end
return front, real, run, load_only
