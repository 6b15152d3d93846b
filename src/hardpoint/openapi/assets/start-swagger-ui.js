// The page's settings are attributes of this script's element: a content security policy refuses inline scripts.
const { openapiUrl, persistAuthorization, root } = document.currentScript.dataset;

// Where this page is from, its requests may go, and nowhere else; the document may name other addresses of the same
// service, or it is reached by another name or through a proxy that takes a prefix away.
const own = `${location.origin}${root}`;

function fromHere(specification) {
  const schemes = Object.values(specification.components?.securitySchemes ?? {});
  for (const flow of schemes.flatMap((scheme) => Object.values(scheme.flows ?? {}))) {
    for (const name of ["tokenUrl", "refreshUrl", "authorizationUrl"]) {
      if (flow[name]?.startsWith("/")) {
        flow[name] = `${own}${flow[name]}`;
      }
    }
  }
  const others = (specification.servers ?? []).filter(({ url }) => new URL(url, location).href !== new URL(own).href);
  return { ...specification, servers: [{ url: own, description: "Where this page is from" }, ...others] };
}

SwaggerUIBundle({
  url: openapiUrl,
  dom_id: "#swagger-ui",
  deepLinking: true,
  showExtensions: true,
  persistAuthorization: persistAuthorization === "true",
  // The validator's badge would ask another host.
  validatorUrl: null,
  plugins: [
    () => ({
      statePlugins: {
        spec: { wrapActions: { updateJsonSpec: (original) => (specification) => original(fromHere(specification)) } },
      },
    }),
  ],
});
