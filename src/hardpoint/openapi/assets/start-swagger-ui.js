// The page's settings are attributes of this script's element: a content security policy refuses inline scripts.
const { openapiUrl, persistAuthorization } = document.currentScript.dataset;

SwaggerUIBundle({
  url: openapiUrl,
  dom_id: "#swagger-ui",
  deepLinking: true,
  showExtensions: true,
  persistAuthorization: persistAuthorization === "true",
  // The validator's badge would ask another host.
  validatorUrl: null,
});
