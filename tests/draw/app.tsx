// Draws boards with Grafana's own components, without a Grafana server: for the pictures in dashboards/, and to see
// that a unit, a legend and a threshold look as meant. Tables and bars are written out as text.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { applyFieldOverrides, createDataFrame, createTheme, dateTime, FieldColorModeId, FieldType, getDisplayProcessor, ThemeContext } from '@grafana/data';
import { LegendDisplayMode } from '@grafana/schema';
import { BigValue, BigValueColorMode, BigValueGraphMode, BigValueJustifyMode, GlobalStyles, PanelChrome, TimeSeries } from '@grafana/ui';

const board: any = (window as any).DATA;
const theme = createTheme({ colors: { mode: 'dark' } });
const CELL = { w: 60, h: 30 };

function frames(panel: any) {
  const defaults = panel.fieldConfig.defaults;
  const steps = defaults.thresholds.steps.map((s: any) => ({ ...s, value: s.value ?? -Infinity }));
  const byThreshold = panel.type === 'stat';
  const raw = panel.series.map((s: any) =>
    createDataFrame({
      name: s.name,
      fields: [
        { name: 'time', type: FieldType.time, values: s.t, config: {} },
        {
          name: 'value',
          type: FieldType.number,
          values: s.v,
          config: {
            displayName: s.name,
            unit: defaults.unit,
            thresholds: { mode: 'absolute', steps },
            color: { mode: byThreshold ? FieldColorModeId.Thresholds : FieldColorModeId.PaletteClassic },
            custom: { fillOpacity: 10, lineWidth: 1, drawStyle: 'line' },
          },
        },
      ],
    } as any)
  );
  const fieldConfig = { defaults: { unit: defaults.unit, min: 0 }, overrides: [] };
  return applyFieldOverrides({ data: raw, fieldConfig, theme, replaceVariables: (x: string) => x, timeZone: 'utc' } as any);
}

function Inside({ panel, width, height }: any) {
  const all = frames(panel);
  const last = (frame: any) => {
    const field = frame.fields[1];
    const values = [...field.values].filter((v: any) => v !== null);
    return getDisplayProcessor({ field, theme })(values[values.length - 1]);
  };
  if (!all.length) {
    return <div style={{ padding: 8 }}>no data</div>;
  }
  if (panel.type === 'stat') {
    return <BigValue {...{ width, height, theme, value: last(all[0]) }} colorMode={BigValueColorMode.Value} graphMode={BigValueGraphMode.None} justifyMode={BigValueJustifyMode.Auto} />;
  }
  if (panel.type !== 'timeseries') {
    return (
      <table style={{ width: '100%', fontSize: 12 }}>
        <tbody>
          {all.slice(0, 9).map((frame: any, i: number) => (
            <tr key={i}>
              <td>{frame.name}</td>
              <td style={{ textAlign: 'right' }}>{last(frame).text}{last(frame).suffix}</td>
            </tr>
          ))}
        </tbody>
      </table>
    );
  }
  const timeRange: any = { from: dateTime(board.from), to: dateTime(board.to), raw: { from: 'now', to: 'now' } };
  const legend: any = { showLegend: true, displayMode: LegendDisplayMode.List, placement: 'bottom', calcs: [] };
  return <TimeSeries frames={all} structureRev={1} {...{ width, height, timeRange, legend }} timeZone="utc" options={{} as any} />;
}

const bottom = Math.max(...board.panels.map((p: any) => p.gridPos.y + p.gridPos.h)) * CELL.h;
createRoot(document.getElementById('root')!).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles hackNoBackdropBlur={true} />
    <div style={{ position: 'relative', width: 24 * CELL.w, height: bottom + 70, background: theme.colors.background.canvas, color: theme.colors.text.primary, fontFamily: theme.typography.fontFamily }}>
      <div style={{ padding: '10px 8px 0', fontSize: 20 }}>
        {board.title}: {board.description} <span style={{ fontSize: 12, opacity: 0.7 }}>(drawn with Grafana's components, not by a Grafana server)</span>
      </div>
      {board.panels.map((p: any) => (
        <div key={p.id} style={{ position: 'absolute', left: p.gridPos.x * CELL.w + 4, top: p.gridPos.y * CELL.h + 54 }}>
          {p.type === 'row' ? (
            <div style={{ fontSize: 15, fontWeight: 500, padding: 4 }}>{p.title}</div>
          ) : (
            <PanelChrome title={p.title} width={p.gridPos.w * CELL.w - 8} height={p.gridPos.h * CELL.h - 8}>
              {(width: number, height: number) => <Inside panel={p} width={width} height={height} />}
            </PanelChrome>
          )}
        </div>
      ))}
    </div>
  </ThemeContext.Provider>
);
