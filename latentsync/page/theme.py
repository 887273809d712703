"""How the page looks: Gradio's theme in quiet colors, and the few rules it has no name for."""

from __future__ import annotations

import gradio as gr

from latentsync.page.scene_script import CSS as SCENE_CSS

THEME = gr.themes.Default(
    primary_hue="teal",
    neutral_hue="slate",
    radius_size="md",
    font=["system-ui", "Segoe UI", "Roboto", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(  # text on its ground has a contrast of at least 4.5 : 1 (WCAG 2.2, 1.4.3), by day and by night
    body_text_color_subdued="*neutral_500",
    body_text_color_subdued_dark="*neutral_400",
    block_info_text_color="*neutral_500",
    block_info_text_color_dark="*neutral_400",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_hover_dark="*primary_800",
    button_cancel_background_fill=gr.themes.colors.red.c700,
    button_cancel_background_fill_hover=gr.themes.colors.red.c800,
)

CSS = SCENE_CSS + """
.gradio-container { max-width: 1200px !important; margin: 0 auto !important; }
.gradio-container > .main { max-width: 1200px !important; padding: 16px clamp(12px, 2.5vw, 32px) !important; }
#title h1 { margin-bottom: 0; }
.help p { color: var(--body-text-color-subdued); font-size: var(--text-sm); line-height: 1.45; }
.help code { font-size: var(--text-xs); overflow-wrap: anywhere; }
:is(button, summary, [role="slider"], input[type="range"]):focus-visible {
  outline: 2px solid var(--color-accent) !important; outline-offset: 2px; }
footer .divider { display: none; } /* between links that are not there */
#results:not(:has(#result video)) { display: none; } /* nothing to compare yet */
#audio :is(time, button span) { color: var(--body-text-color-subdued) !important; }
#models { border-left: 3px solid var(--color-accent); padding: 2px 0 2px 12px; }
#people .grid-wrap { height: auto; min-height: 0; max-height: 280px; padding-top: 32px; }
#people .grid-container { grid-template-columns: repeat(auto-fill, 104px); padding-top: 0; }
#people .caption-label { font-weight: 400; font-size: var(--text-xs); }
#video video { max-height: 340px; }
#video button:is([aria-label^="Trim"], [aria-label^="Reset"]) { display: none; } /* loads a program from elsewhere */
[data-unplayable]:has(video)::after {
  content: attr(data-unplayable); position: absolute; inset: 0; display: grid; place-content: center; padding: 24px;
  text-align: center; background: var(--block-background-fill); color: var(--body-text-color); pointer-events: none; }
.actions > button { padding-inline: 8px; }
#status, #status > div { padding: 0; }
.status { padding: 10px 14px; border-radius: var(--radius-md); border: 1px solid var(--border-color-primary);
          background: var(--block-background-fill); color: var(--body-text-color); }
.status p { margin: 0; }
.status.done { border-color: var(--color-accent); }
.status.failed { border-color: var(--error-border-color); color: var(--error-text-color);
                 background: var(--error-background-fill); }
.status progress { display: block; appearance: none; width: 100%; height: 8px; margin-top: 8px; border: 0;
                   border-radius: 4px; overflow: hidden; background: var(--border-color-primary); }
.status progress::-webkit-progress-bar { background: var(--border-color-primary); }
.status progress::-webkit-progress-value { background: var(--color-accent); }
.status progress::-moz-progress-bar { background: var(--color-accent); }
#report :is(table, thead, tbody, tr) { border: 0; }
#report :is(th, td):last-child { text-align: right; }
#report table { min-width: min(100%, 320px); }
#report th, #report td { border: 0; border-bottom: 1px solid var(--border-color-primary); padding: 4px 12px 4px 0; }
@media (max-width: 640px) {
  .actions > button { flex: 1 1 100%; }
  #source, #result { height: 300px !important; }
}
"""
