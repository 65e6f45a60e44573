#!/bin/sh
# Draws the boards that `make fault-run` left in target/pictures, into dashboards/pictures. Needs node, npm and chromium.
set -eu
cd "$(dirname "$0")/../.."
peers=target/peers/grafana
if [ ! -d "$peers/node_modules/@grafana/ui" ]; then
    mkdir -p "$peers"
    npm install --prefix "$peers" --no-audit --no-fund --ignore-scripts --silent \
        @grafana/ui@13.2 @grafana/data@13.2 @grafana/schema@13.2 react@19 react-dom@19 esbuild
fi
cp tests/draw/app.tsx "$peers/app.tsx"
NODE_ENV=production "$peers/node_modules/.bin/esbuild" "$peers/app.tsx" --bundle --minify --log-level=error \
    --outfile=target/pictures/app.js --loader:.svg=dataurl --loader:.ttf=dataurl --loader:.woff2=dataurl --loader:.woff=dataurl \
    --define:process.env.NODE_ENV='"production"'
mkdir -p dashboards/pictures
for data in target/pictures/*.json; do
    name=$(basename "$data" .json)
    {
        printf '<!doctype html><meta charset=utf-8><body style="margin:0;background:#111217"><div id=root></div><script>window.DATA='
        cat "$data"
        printf '</script><script src=app.js></script>'
    } > "target/pictures/$name.html"
    height=$(sed -n 's/.*"bottom":\([0-9]*\).*/\1/p' "$data")
    chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --virtual-time-budget=8000 \
        --window-size=1440,$((height * 30 + 80)) --screenshot="dashboards/pictures/$name.png" \
        "file://$PWD/target/pictures/$name.html" >/dev/null 2>&1
    echo "dashboards/pictures/$name.png"
done
