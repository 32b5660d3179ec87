-- The mix of requests that wrk sends to the demonstration application: out of ten, five of one
-- product, one of all products, two orders, one of the books, one of the static page.
local requests = {}
local turn = 0

function init(args)
  local json = {["Content-Type"] = "application/json"}
  local function get(path) requests[#requests + 1] = wrk.format("GET", path) end
  local function order(product, count)
    local body = string.format('{"product": %d, "count": %d}', product, count)
    requests[#requests + 1] = wrk.format("POST", "/api/orders", json, body)
  end
  get("/api/products/3")
  get("/api/products")
  order(5, 2)
  get("/api/products/7")
  get("/page")
  get("/api/products/12")
  get("/api/products/15")
  order(20, 1)
  get("/api/products/20")
  get("/api/books")
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end
