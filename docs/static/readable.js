// What the theme's pages lack for those who cannot see or point: levels of headings, names of regions, keys to scroll by.
addEventListener("DOMContentLoaded", () => {
  for (const heading of document.querySelectorAll("[role=heading]:not([aria-level])")) heading.setAttribute("aria-level", "2");
  document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "pages");
  document.querySelector(".toc-drawer")?.setAttribute("aria-label", "on this page");
  for (const box of document.querySelectorAll("pre, .table-wrapper, .cell_output, .output")) box.tabIndex = 0;
  document.querySelector(".view-this-page, .content-icon-container")?.setAttribute("role", "region");
  document.querySelector(".content-icon-container")?.setAttribute("aria-label", "this page");
});
