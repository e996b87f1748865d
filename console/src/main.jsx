import {render} from "preact";
import "./console.css";

render(<p>Postage</p>, document.getElementById("page"));
