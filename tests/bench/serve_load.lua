-- Load for wrk: `-- FOLDER` holds head (content type, then one path per line), bodies (all of one length, one per
-- line) and order (one number of a path per line, gone through again and again).
local heads, order, bodies, step = {}, {}, {}, 0

function init(args)
  local folder, kind = args[1], nil
  for line in io.lines(folder .. "/bodies") do bodies[#bodies + 1] = line end
  for line in io.lines(folder .. "/head") do
    if kind == nil then
      kind = line
    else
      local whole = wrk.format("POST", line, { ["Content-Type"] = kind }, bodies[1])
      heads[#heads + 1] = whole:sub(1, #whole - #bodies[1])
    end
  end
  for line in io.lines(folder .. "/order") do order[#order + 1] = heads[tonumber(line)] end
  math.randomseed(7)
  step = math.random(#order)
end

function request()
  step = step % #order + 1
  return order[step] .. bodies[math.random(#bodies)]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'FIGURES {"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
